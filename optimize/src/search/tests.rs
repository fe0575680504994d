use super::*;
use crate::drawn::numbers;

const COLUMNS: usize = 512;

fn importance() -> Vec<f32> {
    numbers(COLUMNS, 9).iter().map(|x| 0.05 + x * x).collect()
}

fn encoded(ty: TensorType, rows: &[f32], importance: Option<&[f32]>) -> (Vec<u8>, Vec<u8>) {
    let size = rows.len() / ty.block_len() * ty.block_bytes();
    let (mut stock, mut searched) = (vec![0; size], vec![0; size]);
    quants::encode(ty, rows, COLUMNS, importance, &mut stock).unwrap();
    let of_rows = 0..(rows.len() / COLUMNS) as u64;
    Search
        .encode(ty, of_rows, rows, COLUMNS, importance, &mut searched)
        .unwrap();
    quants::validate(ty, &searched).unwrap();
    (stock, searched)
}

fn decoded(ty: TensorType, blocks: &[u8], count: usize) -> Vec<f32> {
    let mut weights = vec![0.0; count];
    quants::decode(ty, blocks, &mut weights).unwrap();
    weights
}

/// Σ h a b.
fn product(importance: &[f32], a: &[f32], b: &[f32]) -> f64 {
    let all = a.iter().zip(b).zip(importance.iter().cycle());
    all.map(|((a, b), h)| f64::from(h * a * b)).sum()
}

#[test]
fn searched_blocks_are_nearer_to_the_direction_of_the_weights_and_have_their_energy() {
    let rows = numbers(16 * COLUMNS, 5);
    let importance = importance();
    for Searched {
        ty,
        unweighted,
        large,
        ..
    } in TYPES
    {
        let mut counts = importance.clone();
        if large {
            counts.resize(rows.len(), 0.0);
            let blocks = counts.chunks_exact_mut(ty.block_len());
            for (block, (counts, x)) in blocks.zip(rows.chunks_exact(ty.block_len())).enumerate() {
                let first = block * ty.block_len() % COLUMNS;
                weigh(x, Some(&importance[first..]), counts);
            }
        }
        let energy = product(&counts, &rows, &rows);
        let (stock, searched) = encoded(ty, &rows, Some(&importance));
        // Energy of the blocks, and the share of the weights' that lies off their direction.
        let measured = |blocks: &[u8]| {
            let values = decoded(ty, blocks, rows.len());
            let own = product(&counts, &values, &values);
            let shared = product(&counts, &rows, &values);
            (own, 1.0 - shared * shared / (own * energy))
        };
        let ((_, of_stock), (own, off)) = (measured(&stock), measured(&searched));
        assert!(off < of_stock, "{ty}: {off} and {of_stock}");
        assert!((own / energy - 1.0).abs() < 0.004, "{ty}: {}", own / energy);
        // Without importance large weights count for more, or blocks are left alone.
        if !quants::requires_importance(ty) {
            let (stock, without) = encoded(ty, &rows, None);
            assert_eq!(stock != without, unweighted, "{ty}");
            assert!(searched != without, "{ty}");
        }
    }
}

/// A search by importance alone lowers the errors of many small weights, at the expense of the large ones.
#[test]
fn errors_of_large_weights_do_not_grow_where_these_count_for_more() {
    let rows = numbers(64 * COLUMNS, 5);
    let importance = importance();
    let spread = (product(&[1.0], &rows, &rows) / rows.len() as f64).sqrt() as f32;
    for Searched { ty, .. } in TYPES.into_iter().filter(|searched| searched.large) {
        let of_large = |blocks: &[u8]| {
            let values = decoded(ty, blocks, rows.len());
            let large = rows.iter().zip(values).filter(|(w, _)| w.abs() > 1.5 * spread);
            large.map(|(w, v)| f64::from((w - v) * (w - v))).sum::<f64>()
        };
        let (stock, searched) = encoded(ty, &rows, Some(&importance));
        let mut alone = stock.clone();
        search_rows(
            &Format::new(ty).unwrap(),
            false,
            &rows,
            COLUMNS,
            Some(&importance),
            &mut alone,
        );
        let (stock, searched, alone) = (of_large(&stock), of_large(&searched), of_large(&alone));
        assert!(
            searched < stock && stock < alone,
            "{ty}: {searched}, {stock}, {alone}"
        );
    }
}

/// One column counts for more than all others, and its weights are too small for the steps of most blocks: the others
/// must not be stretched for its sake.
#[test]
fn a_column_that_outweighs_all_others_does_not_stretch_them() {
    let mut rows = numbers(16 * COLUMNS, 5);
    let mut importance = importance();
    for at in [40, 300] {
        importance[at] = 2000.0;
        rows.chunks_exact_mut(COLUMNS).for_each(|row| row[at] *= 0.05);
    }
    let even = vec![1.0; COLUMNS];
    let energy = product(&even, &rows, &rows);
    for Searched { ty, .. } in TYPES {
        let (_, searched) = encoded(ty, &rows, Some(&importance));
        let values = decoded(ty, &searched, rows.len());
        let share = product(&even, &values, &values) / energy;
        assert!(share < 1.02, "{ty}: {share}");
    }
}

/// The joint search, from which the learned blocks begin as well.
#[test]
fn the_joint_search_has_no_larger_weighted_error_than_stocks() {
    let rows = numbers(8 * COLUMNS, 5);
    let importance = importance();
    for ty in quants::parts::types() {
        let (mut blocks, _) = encoded(ty, &rows, Some(&importance));
        let stock = blocks.clone();
        let format = Format::new(ty).unwrap();
        let bytes = blocks.chunks_exact_mut(ty.block_bytes());
        for (index, (x, bytes)) in rows.chunks_exact(format.block).zip(bytes).enumerate() {
            let first = index * format.block % COLUMNS;
            let mut block = format.unpack(bytes);
            block::search(&format, x, &importance[first..first + format.block], &mut block);
            format.pack(&block, bytes);
        }
        quants::validate(ty, &blocks).unwrap();
        let error = |blocks: &[u8]| {
            let values = decoded(ty, blocks, rows.len());
            let off: Vec<f32> = rows.iter().zip(values).map(|(w, v)| w - v).collect();
            product(&importance, &off, &off)
        };
        // Q8_0's own rounding has nothing to gain but its scale.
        assert!(error(&blocks) <= error(&stock), "{ty}");
        assert!(blocks != stock, "{ty}");
    }
}

#[test]
fn other_types_keep_stocks_bytes() {
    let rows = numbers(4 * COLUMNS, 5);
    let importance = importance();
    let others = gguf::TYPES
        .iter()
        .map(|info| info.ty)
        .filter(|ty| quants::can_encode(*ty) && known(*ty).is_none());
    for ty in others {
        let (stock, searched) = encoded(ty, &rows, Some(&importance));
        assert!(stock == searched, "{ty}");
        assert_eq!(Search.picoseconds(ty), None);
    }
}

#[test]
fn blocks_decode_to_the_values_that_the_search_assumed() {
    let rows = numbers(4 * COLUMNS, 5);
    for Searched { ty, .. } in TYPES {
        let (_, searched) = encoded(ty, &rows, Some(&importance()));
        let format = Format::new(ty).unwrap();
        let decoded = decoded(ty, &searched, rows.len());
        let blocks = searched.chunks_exact(ty.block_bytes());
        for (bytes, values) in blocks.zip(decoded.chunks_exact(format.block)) {
            let block = format.unpack(bytes);
            for (i, value) in values.iter().enumerate() {
                let s = i / format.sub_block;
                assert_eq!(block.value(s, block.levels[i]), *value, "{ty}");
            }
        }
    }
}

#[test]
fn rows_of_zeros_and_extreme_weights_stay_finite() {
    let mut rows = numbers(4 * COLUMNS, 3);
    rows[..COLUMNS].fill(0.0);
    rows[COLUMNS..2 * COLUMNS].iter_mut().for_each(|w| *w *= 1e-30);
    rows[2 * COLUMNS + 17] = 1e4;
    let mut importance = importance();
    // Columns that never see anything, a whole block of them among them.
    importance[3..9].fill(0.0);
    importance[256..].fill(0.0);
    for Searched { ty, .. } in TYPES {
        let without = (!quants::requires_importance(ty)).then_some(None);
        for importance in [Some(&importance[..])].into_iter().chain(without) {
            let (_, searched) = encoded(ty, &rows, importance);
            let decoded = decoded(ty, &searched, rows.len());
            assert!(decoded.iter().all(|w| w.is_finite()), "{ty}");
            assert!(decoded[..COLUMNS].iter().all(|w| *w == 0.0), "{ty}");
        }
    }
}
