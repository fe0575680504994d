use proptest::prelude::*;

use super::*;

/// Encoded blocks of every layout come apart and together again without a change, and their parts give what the
/// decoder gives.
fn check(layout: &Layout, bytes: &[u8]) {
    let parts = layout.unpack(bytes);
    let mut again = vec![0xA5; bytes.len()];
    layout.pack(&parts, &mut again);
    assert_eq!(again, bytes, "{}", layout.ty);
    check_values(layout, &parts, bytes);
}

fn check_values(layout: &Layout, parts: &Parts, bytes: &[u8]) {
    let mut decoded = vec![0.0; layout.block];
    crate::decode(layout.ty, bytes, &mut decoded).unwrap();
    for (i, value) in decoded.iter().enumerate() {
        assert_eq!(parts.value(layout, i), *value, "{} weight {i}", layout.ty);
    }
}

proptest! {
    #[test]
    fn encoded_blocks_come_apart_and_together(
        x in prop::collection::vec(-1.0f32..1.0, 256),
        shift in -0.5f32..0.5,
    ) {
        let x: Vec<f32> = x.iter().map(|x| x * x * x + shift).collect();
        for layout in LAYOUTS {
            let x = &x[..layout.block];
            let mut bytes = vec![0; layout.bytes()];
            crate::encode(layout.ty, x, layout.block, Some(&vec![1.0; layout.block]), &mut bytes).unwrap();
            check(layout, &bytes);
        }
    }

    #[test]
    fn any_parts_decode_to_what_they_promise(
        d in -2.0f32..2.0,
        dmin in -2.0f32..2.0,
        scales in prop::array::uniform16(0u16..),
        mins in prop::array::uniform16(0u16..),
        levels in prop::collection::vec(any::<u8>(), 256),
    ) {
        let within = |(low, high): (i16, i16), n: u16| low + (n % (high - low + 1) as u16) as i16;
        for layout in LAYOUTS {
            let mut parts = Parts { d: f16::from_f32(d), ..Parts::default() };
            if layout.has_mins() {
                parts.dmin = f16::from_f32(dmin);
            }
            for j in 0..layout.sub_blocks() {
                parts.scales[j] = within(layout.scales, scales[j]);
                parts.mins[j] = within(layout.mins, mins[j]);
            }
            for (to, level) in parts.levels.iter_mut().zip(&levels).take(layout.block) {
                *to = (usize::from(*level) % layout.levels.count()) as u8;
            }
            let mut bytes = vec![0xA5; layout.bytes()];
            layout.pack(&parts, &mut bytes);
            prop_assert_eq!(&layout.unpack(&bytes), &parts);
            check_values(layout, &parts, &bytes);
        }
    }
}
