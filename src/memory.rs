//! What values take of the heap: what an allocator sets aside for them, not what they ask for.

use serde_json::Value;

/// What an allocation of so many bytes takes. Common allocators add a word or a class of sizes, and
/// set nothing smaller aside than this.
pub(crate) fn allocated(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        _ => bytes
            .saturating_add(WORD)
            .next_multiple_of(GRAIN)
            .max(SMALLEST),
    }
}

/// What a JSON value takes beside itself.
pub(crate) fn of_json(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => allocated(text.capacity()),
        Value::Array(items) => {
            let list = allocated(items.capacity() * size_of::<Value>());
            list + items.iter().map(of_json).sum::<usize>()
        }
        Value::Object(members) => {
            let of_member =
                |(name, value): (&String, _)| allocated(name.capacity()) + of_json(value);
            of_map(members.len()) + members.iter().map(of_member).sum::<usize>()
        }
    }
}

/// What a map of so many members takes beside their names and values: nodes with room for eleven,
/// however few are in them.
fn of_map(members: usize) -> usize {
    const LEAF: usize = NODE * (size_of::<String>() + size_of::<Value>()) + 2 * size_of::<usize>();
    const INNER: usize = LEAF + (NODE + 1) * size_of::<usize>();
    if members <= NODE {
        return allocated(members.min(1) * LEAF);
    }
    // Members that come in order leave every node but the last half full.
    let leaves = members.div_ceil(NODE / 2 + 1);
    leaves * allocated(LEAF) + leaves.div_ceil(NODE / 2 + 1) * allocated(INNER)
}

const WORD: usize = size_of::<usize>();
const GRAIN: usize = 2 * WORD;
const SMALLEST: usize = 4 * WORD;
/// What a node of a `BTreeMap` has room for.
const NODE: usize = 11;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn small_things_take_more_than_they_say() {
        assert_eq!(allocated(0), 0);
        assert_eq!((allocated(1), allocated(24)), (32, 32));
        assert_eq!((allocated(25), allocated(1000)), (48, 1008));
        assert_eq!(of_json(&json!({})) + of_json(&json!([])), 0);
        assert_eq!(of_json(&json!(1)) + of_json(&json!("")), 0);
        assert_eq!(of_json(&json!("a")), 32);
        assert!(of_json(&json!({ "a": 1 })) > 600);
    }

    #[test]
    fn what_is_allocated_is_what_is_said() {
        let small = |n: usize| json!({ "id": n, "tags": [n, "ab"] });
        let member = |n: usize| (format!("member-{n:04}"), json!(n));
        let parsed = |json: Value| json.to_string();
        for text in [
            parsed(json!({ "a": { "b": { "c": "d" } } })),
            parsed((0..100).map(small).collect()),
            parsed(
                (0..400)
                    .map(member)
                    .collect::<serde_json::Map<_, _>>()
                    .into(),
            ),
            parsed((0..50).map(|n| json!([[], [[n]]])).collect()),
            parsed(json!("a long text".repeat(100))),
        ] {
            let mut value = Value::Null;
            let taken = allocation_counter::measure(|| {
                value = serde_json::from_str(&text).unwrap();
            });
            let takes = taken.bytes_current as f64 + 16.0 * taken.count_current as f64;
            let ratio = of_json(&value) as f64 / takes;
            assert!((0.8..1.25).contains(&ratio), "{ratio}: {text}");
        }
    }
}
