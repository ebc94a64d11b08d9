//! Answers that Wacht might give if anything were possible: recorded ones, taken apart.

use std::env;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};

/// Runs a property `few` times, or `PROPTEST_CASES` times for who wants to look harder.
pub fn runner(few: u32) -> TestRunner {
    let cases = env::var("PROPTEST_CASES").ok();
    TestRunner::new(Config {
        cases: cases.and_then(|cases| cases.parse().ok()).unwrap_or(few),
        // A failure says what it took; the next run looks elsewhere.
        failure_persistence: None,
        ..Config::default()
    })
}

/// The bodies of the recorded answers in one of `tests/wire`'s files, the JSON ones.
pub fn recorded(lines: &str) -> Vec<Value> {
    let mut bodies: Vec<Value> = Vec::new();
    for line in lines.lines() {
        let mut line: Value = serde_json::from_str(line).unwrap();
        let body = line["response"]["body"].take();
        if body.is_object() && !bodies.contains(&body) {
            bodies.push(body);
        }
    }
    bodies
}

/// One of these, with some members replaced, removed or repeated, and the text of it cut, nested
/// or followed by something.
pub fn mangled(templates: Vec<Value>) -> impl Strategy<Value = String> {
    let change = (any::<Index>(), prop::option::of(any_json()));
    let changes = prop::collection::vec(change, 0..4);
    (select(templates), changes, Spelling::any()).prop_map(|(mut value, changes, spelling)| {
        for (place, change) in changes {
            let places = pointers(&value);
            let place = place.get(&places);
            match change {
                Some(new) => *value.pointer_mut(place).unwrap() = new,
                None => remove(&mut value, place),
            }
        }
        spelling.spell(&value)
    })
}

/// Anything that is JSON, with the words of Wacht in it.
pub fn any_json() -> impl Strategy<Value = Value> {
    let words = [
        "",
        "0",
        "1",
        "-1",
        "9223372036854775808",
        "true",
        "orders",
        "rate_limited",
        "minute",
        "permission_denied",
        "per_key",
        "per_ip",
        "calendar_day",
        "*",
        "/items",
        "..",
        "\u{0}",
        "1970-01-01T00:00:00Z",
        "+262142-12-31T23:59:59Z",
        "10000-01-01T00:00:00Z",
        "Invalid API key",
    ];
    let numbers = [0, 1, -1, 2_147_483_647, 2_147_483_648, i64::MIN, i64::MAX];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        select(numbers.to_vec()).prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        select(words.to_vec()).prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    let names = [
        "allowed",
        "reason",
        "identity",
        "request_id",
        "deployment_id",
        "app_slug",
        "key_id",
        "permissions",
        "metadata",
        "expires_at",
        "data",
        "errors",
        "message",
        "unit",
        "duration",
        "max_requests",
        "mode",
        "rules",
        "rate_limits",
        "is_active",
        "endpoints",
        "priority",
        "",
    ];
    let name = select(names.to_vec()).prop_map(str::to_owned);
    leaf.prop_recursive(3, 24, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// How a value is written down.
#[derive(Clone, Debug)]
enum Spelling {
    Plain,
    Cut(Index),
    /// This behind it.
    Followed(String),
    /// Its members alone, without their names.
    Unnamed,
    /// In a list.
    Nested,
    /// Some member stands there before, with another value.
    Repeated(Index, Value),
    /// Not it at all.
    Text(String),
}

impl Spelling {
    fn any() -> impl Strategy<Value = Self> {
        prop_oneof![
            6 => Just(Self::Plain),
            1 => any::<Index>().prop_map(Self::Cut),
            1 => "[ \\n,}\\]a0]{0,3}".prop_map(Self::Followed),
            1 => Just(Self::Unnamed),
            1 => Just(Self::Nested),
            1 => (any::<Index>(), any_json()).prop_map(|(place, value)| Self::Repeated(place, value)),
            1 => "(Invalid API key)?.{0,12}".prop_map(Self::Text),
        ]
    }

    fn spell(self, value: &Value) -> String {
        let text = value.to_string();
        match (self, value) {
            (Self::Cut(place), _) => {
                let ends: Vec<usize> = text.char_indices().map(|(end, _)| end).collect();
                text[..*place.get(&ends)].to_owned()
            }
            (Self::Followed(rest), _) => text + &rest,
            (Self::Unnamed, Value::Object(members)) => json!(unnamed(members)).to_string(),
            (Self::Nested, _) => format!("[{text}]"),
            (Self::Repeated(place, other), Value::Object(members)) if !members.is_empty() => {
                let names: Vec<&String> = members.keys().collect();
                let name = json!(place.get(&names));
                text.replacen('{', &format!("{{{name}:{other},"), 1)
            }
            (Self::Text(text), _) => text,
            _ => text,
        }
    }
}

/// The members of a check's answer in the order in which it names them, then the others.
fn unnamed(members: &Map<String, Value>) -> Vec<&Value> {
    const ORDER: [&str; 10] = [
        "request_id",
        "allowed",
        "reason",
        "blocked_rule",
        "identity",
        "permissions",
        "metadata",
        "rate_limits",
        "retry_after",
        "headers",
    ];
    let known = ORDER.iter().filter_map(|name| members.get(*name));
    let others = members
        .iter()
        .filter(|(name, _)| !ORDER.contains(&name.as_str()));
    known.chain(others.map(|(_, value)| value)).collect()
}

fn pointers(value: &Value) -> Vec<String> {
    let mut found = vec![String::new()];
    let mut add = |name: &str, value: &Value| {
        let name = name.replace('~', "~0").replace('/', "~1");
        let below = pointers(value).into_iter();
        found.extend(below.map(|rest| format!("/{name}{rest}")));
    };
    match value {
        Value::Array(items) => items
            .iter()
            .enumerate()
            .for_each(|(place, item)| add(&place.to_string(), item)),
        Value::Object(members) => members.iter().for_each(|(name, value)| add(name, value)),
        _ => {}
    }
    found
}

fn remove(value: &mut Value, place: &str) {
    let Some((parent, name)) = place.rsplit_once('/') else {
        return;
    };
    match value.pointer_mut(parent) {
        Some(Value::Object(members)) => {
            members.remove(&name.replace("~1", "/").replace("~0", "~"));
        }
        Some(Value::Array(items)) => {
            items.remove(name.parse().unwrap());
        }
        _ => {}
    }
}
