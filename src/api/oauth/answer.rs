//! Answers about OAuth, which may stand under `data`.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::api::Call;
use crate::client::{Result, decode, decode_from};

/// Sends a call and decodes its answer.
pub(super) async fn answer<T: DeserializeOwned>(call: Call<'_>, what: &'static str) -> Result<T> {
    let (place, answer) = value(call, what).await?;
    Ok(decode_from(what, place, answer)?)
}

/// Sends a call and gives its answer, which may stand under `data`, and where that was.
pub(super) async fn value(call: Call<'_>, what: &'static str) -> Result<(&'static str, Value)> {
    let mut answer: Value = decode(what, &call.bytes().await?)?;
    match answer.get_mut("data").map(Value::take) {
        Some(data @ Value::Object(_)) => Ok(("data", data)),
        _ => Ok(("", answer)),
    }
}
