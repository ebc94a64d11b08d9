//! Keys of many shapes: what permissions and metadata they have.

use serde_json::{Map, Value, json};

#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    /// How many keys of it make some 50 MB.
    pub(crate) keys: u64,
    pub(crate) permissions: fn(u64) -> Vec<String>,
    pub(crate) metadata: fn(u64) -> Value,
}

pub(crate) const SHAPES: [Shape; 12] = [
    Shape {
        name: "nothing",
        keys: 60_000,
        permissions: |_| Vec::new(),
        metadata: |_| json!({}),
    },
    Shape {
        name: "four permissions, shared",
        keys: 60_000,
        permissions: |_| names("orders", 4),
        metadata: |_| json!({}),
    },
    Shape {
        name: "four permissions of its own",
        keys: 50_000,
        permissions: |key| names(&format!("orders-{key}"), 4),
        metadata: |_| json!({}),
    },
    Shape {
        name: "many permissions, shared",
        keys: 60_000,
        permissions: |_| names("orders", 60),
        metadata: |_| json!({}),
    },
    Shape {
        name: "many permissions of its own",
        keys: 3_000,
        permissions: |key| names(&format!("orders-{key}"), 300),
        metadata: |_| json!({}),
    },
    Shape {
        name: "a long text",
        keys: 5_000,
        permissions: |_| Vec::new(),
        metadata: |key| json!({ "note": format!("{key} ").repeat(2_000) }),
    },
    Shape {
        name: "a few members",
        keys: 30_000,
        permissions: |_| names("orders", 4),
        metadata: |key| json!({ "plan": "pro", "team": format!("team {key}"), "seats": key }),
    },
    Shape {
        name: "many small objects",
        keys: 1_000,
        permissions: |_| Vec::new(),
        metadata: |key| {
            let small = |n: u64| json!({ "id": n + key });
            json!({ "rows": (0..100).map(small).collect::<Vec<_>>() })
        },
    },
    Shape {
        name: "an object of many members",
        keys: 1_000,
        permissions: |_| Vec::new(),
        metadata: |_| {
            let member = |n: u64| (format!("member-{n:04}"), json!(n));
            (0..400).map(member).collect::<Map<_, _>>().into()
        },
    },
    Shape {
        name: "nested arrays",
        keys: 1_000,
        permissions: |_| Vec::new(),
        metadata: |_| {
            let nested = |_| json!([[[]], [[1], [2, 3]], [[[]]]]);
            (0..60).map(nested).collect()
        },
    },
    Shape {
        name: "numbers",
        keys: 2_000,
        permissions: |_| Vec::new(),
        metadata: |key| (0..600).map(|n: u64| json!(n * key)).collect(),
    },
    Shape {
        name: "short texts",
        keys: 2_000,
        permissions: |_| Vec::new(),
        metadata: |key| {
            (0..300)
                .map(|n: u64| json!(format!("text {}", n * key)))
                .collect()
        },
    },
];

fn names(of: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{of}:permission-{n}")).collect()
}
