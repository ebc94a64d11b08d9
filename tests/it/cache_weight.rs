//! What known keys are said to take, against what they do take: of the heap, counted.

use serde_json::{Map, Value, json};
use tokio::runtime::Builder;
use wacht_auth::dev::{DevGateway, DevKey};
use wacht_auth::{AuthContext, AuthHandle, Limits, WachtAuthLayer};

/// Keys of a shape that are measured: so many that what a gate takes by itself does not show beside
/// them. A quarter as many are there before, for which that is made.
const SMALL: usize = 1_000;
const LARGE: usize = 100;
/// What an allocator takes beside what it was asked for, on average: its own word, and what it
/// rounds up to.
const OVERHEAD: f64 = 16.0;
/// How far off it may be, either way.
const TOLERANCE: f64 = 1.3;

#[derive(Clone, Copy)]
struct Shape {
    name: &'static str,
    keys: usize,
    permissions: fn(usize) -> Vec<String>,
    metadata: fn(usize) -> Value,
}

const SHAPES: [Shape; 12] = [
    Shape {
        name: "nothing",
        keys: SMALL,
        permissions: |_| Vec::new(),
        metadata: |_| json!({}),
    },
    Shape {
        name: "four permissions, shared",
        keys: SMALL,
        permissions: |_| names("orders", 4),
        metadata: |_| json!({}),
    },
    Shape {
        name: "four permissions of its own",
        keys: SMALL,
        permissions: |key| names(&format!("orders-{key}"), 4),
        metadata: |_| json!({}),
    },
    Shape {
        name: "many permissions, shared",
        keys: SMALL,
        permissions: |_| names("orders", 60),
        metadata: |_| json!({}),
    },
    Shape {
        name: "many permissions of its own",
        keys: LARGE,
        permissions: |key| names(&format!("orders-{key}"), 300),
        metadata: |_| json!({}),
    },
    Shape {
        name: "a long text",
        keys: LARGE,
        permissions: |_| Vec::new(),
        metadata: |key| json!({ "note": format!("{key} ").repeat(2_000) }),
    },
    Shape {
        name: "a few members",
        keys: SMALL,
        permissions: |_| names("orders", 4),
        metadata: |key| json!({ "plan": "pro", "team": format!("team {key}"), "seats": key }),
    },
    Shape {
        name: "many small objects",
        keys: LARGE,
        permissions: |_| Vec::new(),
        metadata: |key| {
            let small = |n: usize| json!({ "id": n + key });
            json!({ "rows": (0..100).map(small).collect::<Vec<_>>() })
        },
    },
    Shape {
        name: "an object of many members",
        keys: LARGE,
        permissions: |_| Vec::new(),
        metadata: |_| {
            let member = |n: usize| (format!("member-{n:04}"), json!(n));
            (0..400).map(member).collect::<Map<_, _>>().into()
        },
    },
    Shape {
        name: "nested arrays",
        keys: LARGE,
        permissions: |_| Vec::new(),
        metadata: |_| {
            (0..60)
                .map(|_| json!([[[]], [[1], [2, 3]], [[[]]]]))
                .collect()
        },
    },
    Shape {
        name: "numbers",
        keys: LARGE,
        permissions: |_| Vec::new(),
        metadata: |key| (0..600).map(|n| json!(n * key)).collect(),
    },
    Shape {
        name: "short texts",
        keys: LARGE,
        permissions: |_| Vec::new(),
        metadata: |key| {
            (0..300)
                .map(|n| json!(format!("text {}", n * key)))
                .collect()
        },
    },
];

fn names(of: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{of}:permission-{n}")).collect()
}

#[test]
fn a_known_key_weighs_what_it_takes_whatever_its_shape() {
    let mut wrong = Vec::new();
    println!(
        "{:<30} {:>10} {:>10} {:>6}",
        "bytes of a key", "weighs", "takes", ""
    );
    for shape in SHAPES {
        let (weighs, takes) = measured(shape);
        let ratio = weighs / takes;
        println!(
            "{:<30} {weighs:>10.0} {takes:>10.0} {ratio:>6.2}",
            shape.name
        );
        if !(1.0 / TOLERANCE..=TOLERANCE).contains(&ratio) {
            wrong.push((shape.name, ratio));
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// What a key of this shape is said to take, and what it does.
fn measured(shape: Shape) -> (f64, f64) {
    // All of the gate's work is on this thread, where allocations are counted.
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let wacht = runtime.block_on(DevGateway::start());
    let before = shape.keys / 4;
    let issue = |number| {
        let key = wacht.issue_key("orders").name("ci");
        let key = key.permissions((shape.permissions)(number));
        key.metadata((shape.metadata)(number)).issue()
    };
    let keys: Vec<DevKey> = (0..before + shape.keys).map(issue).collect();
    let gate = WachtAuthLayer::builder(wacht.client());
    let gate = gate.limits(Limits::off()).build().unwrap();
    let gate = gate.app("orders").handle();
    let context = AuthContext::new("/orders");
    let know = |keys: &[DevKey]| {
        runtime.block_on(async {
            for key in keys {
                gate.authenticate_key(key.secret(), &context).await.unwrap();
            }
        });
        known_bytes(&gate)
    };
    let weighed = know(&keys[..before]);
    let mut after = 0;
    let taken = allocation_counter::measure(|| after = know(&keys[before..]));
    let takes = taken.bytes_current as f64 + OVERHEAD * taken.count_current as f64;
    let count = shape.keys as f64;
    ((after - weighed) as f64 / count, takes / count)
}

fn known_bytes(gate: &AuthHandle) -> u64 {
    let stats = gate.stats();
    assert_eq!(stats.evicted_keys, 0);
    stats.cached_bytes
}
