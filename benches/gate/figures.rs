//! Keeps what criterion does not: `bench/gate.json` in the target directory.

use std::env;
use std::fs;

use serde_json::{Value, json};

use super::run::Run;

/// Puts the rows of a table into the file, beside those of other tables.
pub(crate) fn keep(run: &Run, table: &str, rows: &Value) {
    // <target>/release/deps/gate-…
    let program = env::current_exe().unwrap();
    let target = program.ancestors().nth(3).unwrap();
    let name = match run.is_short {
        true => "gate-short.json",
        false => "gate.json",
    };
    let path = target.join("bench").join(name);
    let before = fs::read(&path).ok();
    let mut figures = before
        .and_then(|text| serde_json::from_slice(&text).ok())
        .filter(Value::is_object)
        .unwrap_or_else(|| json!({}));
    figures[table] = rows.clone();
    fs::create_dir_all(target.join("bench")).unwrap();
    fs::write(path, serde_json::to_vec_pretty(&figures).unwrap()).unwrap();
}
