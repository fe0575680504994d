//! Round trip: a file that is read and written back has the same bytes.

use crate::common;

use common::{copy, folder, pattern, write_pattern};
use proptest::collection::vec;
use proptest::prelude::*;
use quantsmith_gguf::{
    Array, Backing, Endian, FilePlan, GgufFile, GgufString, Metadata, OpenOptions, TYPES, Value,
};

fn string() -> impl Strategy<Value = GgufString> {
    prop_oneof![
        ".{0,12}".prop_map(GgufString::from),
        vec(any::<u8>(), 0..12).prop_map(GgufString),
    ]
}

fn array() -> impl Strategy<Value = Array> {
    let leaf = prop_oneof![
        vec(any::<u8>(), 0..9).prop_map(Array::U8),
        vec(any::<i8>(), 0..9).prop_map(Array::I8),
        vec(any::<u16>(), 0..9).prop_map(Array::U16),
        vec(any::<i16>(), 0..9).prop_map(Array::I16),
        vec(any::<u32>(), 0..9).prop_map(Array::U32),
        vec(any::<i32>(), 0..9).prop_map(Array::I32),
        vec(any::<f32>(), 0..9).prop_map(Array::F32),
        vec(any::<bool>(), 0..9).prop_map(Array::Bool),
        vec(string(), 0..9).prop_map(Array::String),
        vec(any::<u64>(), 0..9).prop_map(Array::U64),
        vec(any::<i64>(), 0..9).prop_map(Array::I64),
        vec(any::<f64>(), 0..9).prop_map(Array::F64),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| vec(inner, 0..4).prop_map(Array::Array))
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<u8>().prop_map(Value::U8),
        any::<i8>().prop_map(Value::I8),
        any::<u16>().prop_map(Value::U16),
        any::<i16>().prop_map(Value::I16),
        any::<u32>().prop_map(Value::U32),
        any::<i32>().prop_map(Value::I32),
        any::<f32>().prop_map(Value::F32),
        any::<bool>().prop_map(Value::Bool),
        string().prop_map(Value::String),
        array().prop_map(Value::Array),
        any::<u64>().prop_map(Value::U64),
        any::<i64>().prop_map(Value::I64),
        any::<f64>().prop_map(Value::F64),
    ]
}

fn metadata() -> impl Strategy<Value = Metadata> {
    let alignment = prop_oneof![Just(None), (0u32..9).prop_map(|shift| Some(1u32 << shift))];
    (vec(("[a-z.é]{1,20}", value()), 0..12), alignment).prop_map(|(pairs, alignment)| {
        let mut m = Metadata::new();
        for (k, v) in pairs {
            m.set_in_place(k, v);
        }
        if let Some(a) = alignment {
            m.set("general.alignment", a);
        }
        m
    })
}

fn plan() -> impl Strategy<Value = FilePlan> {
    let tensor = (0..TYPES.len(), 1u64..4, vec(1u64..4, 0..4));
    let versions = prop_oneof![Just(1u32), Just(2), Just(3)];
    (metadata(), vec(tensor, 0..8), versions, any::<bool>()).prop_map(|(metadata, tensors, version, big)| {
        let mut only_swappable = tensors;
        if big {
            only_swappable.retain(|t| TYPES[t.0].name != "iq2_xxs");
        }
        let tensors = only_swappable
            .into_iter()
            .enumerate()
            .map(|(i, (ty, blocks, outer))| {
                let t = &TYPES[ty];
                let mut shape = vec![blocks * t.block_len as u64];
                shape.extend(outer.into_iter().take(3));
                (format!("tensor.{i}"), shape, t.ty)
            });
        let mut plan = FilePlan::new(metadata, tensors).unwrap();
        plan.version = version;
        plan.endian = if big { Endian::Big } else { Endian::Little };
        plan
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_planned_file_reads_as_planned_and_rewrites_to_the_same_bytes(plan in plan(), mapped: bool) {
        let folder = folder();
        let (a, b) = (folder.path().join("a.gguf"), folder.path().join("b.gguf"));
        write_pattern(&a, &plan);
        let bytes = std::fs::read(&a).unwrap();
        prop_assert_eq!(bytes.len() as u64, plan.file_size());
        prop_assert_eq!(bytes[..plan.header_len() as usize].to_vec(), plan.header_bytes().unwrap());

        let backing = if mapped { Backing::Mapped } else { Backing::File };
        let file = GgufFile::open_with(&a, OpenOptions::default().backing(backing)).unwrap();
        prop_assert_eq!(file.version(), plan.version);
        prop_assert_eq!(file.endian(), plan.endian);
        prop_assert_eq!(file.tensors(), plan.tensors.as_slice());
        prop_assert_eq!(file.alignment(), plan.alignment);
        // Compared as bytes, because a NaN is not equal to itself.
        prop_assert!(file.metadata().iter().map(|(k, _)| k).eq(plan.metadata.iter().map(|(k, _)| k)));
        for (i, t) in file.tensors().iter().enumerate() {
            let whole = pattern(i, t.size_bytes());
            prop_assert_eq!(&*file.bytes(i, 0..t.size_bytes()).unwrap(), whole.as_slice());
            let (s, e) = (t.size_bytes() / 3, t.size_bytes() * 2 / 3);
            prop_assert_eq!(&*file.bytes(i, s..e).unwrap(), &whole[s as usize..e as usize]);
        }

        copy(&a, &b);
        prop_assert_eq!(std::fs::read(&b).unwrap(), bytes);
    }

    #[test]
    fn any_bytes_are_parsed_or_refused(bytes in vec(any::<u8>(), 0..200)) {
        let _ = quantsmith_gguf::Header::parse_bytes(&bytes);
        let mut with_magic = b"GGUF\x03\0\0\0".to_vec();
        with_magic.extend(&bytes);
        let _ = quantsmith_gguf::Header::parse_bytes(&with_magic);
    }
}
