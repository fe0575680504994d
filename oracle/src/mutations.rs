//! Changes of configurations, the same ones from the same seed.

/// A sequence of numbers that depends on nothing but its seed.
#[derive(Debug)]
pub struct Random(pub u64);

impl Random {
    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
}

/// A change of a configuration that leaves it JSON.
///
/// # Panics
/// Where the configuration is empty.
pub fn mutate(
    config: &mut serde_json::Map<String, serde_json::Value>,
    other: &serde_json::Value,
    random: &mut Random,
) {
    use serde_json::{Value, json};
    let keys: Vec<String> = config.keys().cloned().collect();
    let key = keys[random.below(keys.len())].clone();
    if key == "architectures" {
        return;
    }
    if random.below(8) == 0
        && let Some(other) = other.as_object()
    {
        let keys: Vec<&String> = other.keys().filter(|k| *k != "architectures").collect();
        let key = keys[random.below(keys.len())];
        config.insert(key.clone(), other[key].clone());
        return;
    }
    let value = &mut config[&key];
    if let Value::Object(inner) = value
        && !inner.is_empty()
        && random.below(4) > 0
    {
        return mutate(inner, other, random);
    }
    let changed = match (&*value, random.below(10)) {
        (_, 0) => None,
        (_, 1) => Some(Value::Null),
        (_, 2) => Some(json!("")),
        (Value::Number(n), choice) => n.as_i64().map_or_else(
            || n.as_f64().map(|x| json!([x * 2.0, 0.0, -x, 1e30][choice % 4])),
            |n| {
                Some(json!(
                    [n + 1, n - 1, n * 2, n / 2, 0, -1, 4_294_967_296][choice % 7]
                ))
            },
        ),
        (Value::Bool(flag), _) => Some(json!(!flag)),
        (Value::Array(list), 3..=5) => Some(json!(list.iter().skip(1).collect::<Vec<_>>())),
        (Value::Array(list), _) => Some(json!([list.clone(), list.clone()].concat())),
        (Value::Null, _) => Some(json!(2)),
        (other, _) => Some(other.clone()),
    };
    match changed {
        Some(new) => *value = new,
        None => drop(config.shift_remove(&key)),
    }
}
