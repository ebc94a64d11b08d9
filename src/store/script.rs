//! What is sent to the store, and what comes back.

use std::sync::OnceLock;
use std::time::Duration;

use redis::{Cmd, FromRedisValue, Value, cmd};

use super::error::{StoreError, StoreErrorKind};
use super::link::ConnectionId;

/// A script of Lua.
///
/// It is named by its hash, and sent as a whole to a server that does not know it.
pub(crate) struct Script {
    source: &'static str,
    script: OnceLock<redis::Script>,
}

/// The name of a key, with the prefix of the store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Slot(pub(super) Box<str>);

/// An argument of a script.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Arg<'a> {
    Int(i64),
    Bytes(&'a [u8]),
}

/// The answer of a script.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(super) value: Value,
    /// Which connection it came over.
    pub(crate) connection: ConnectionId,
    /// The time from when the call was sent to when the answer was there.
    pub(crate) took: Duration,
}

impl Script {
    pub(crate) const fn new(source: &'static str) -> Self {
        Self {
            source,
            script: OnceLock::new(),
        }
    }

    /// The call by its hash.
    pub(super) fn by_hash(&self, keys: &[&Slot], args: &[Arg<'_>]) -> Cmd {
        let script = self.script.get_or_init(|| redis::Script::new(self.source));
        with(cmd("EVALSHA").arg(script.get_hash()), keys, args)
    }

    /// The call with its text, for a server that does not know the hash.
    pub(super) fn as_text(&self, keys: &[&Slot], args: &[Arg<'_>]) -> Cmd {
        with(cmd("EVAL").arg(self.source), keys, args)
    }
}

fn with(call: &mut Cmd, keys: &[&Slot], args: &[Arg<'_>]) -> Cmd {
    call.arg(keys.len());
    for Slot(name) in keys {
        call.arg(&**name);
    }
    for arg in args {
        match arg {
            Arg::Int(number) => call.arg(*number),
            Arg::Bytes(bytes) => call.arg(*bytes),
        };
    }
    std::mem::take(call)
}

impl Slot {
    pub(super) fn name(&self) -> &str {
        &self.0
    }
}

impl Reply {
    /// The answer as what the script should have said: a number, bytes, or a `Vec` or tuple of these.
    pub(crate) fn read<T: FromRedisValue>(self) -> Result<T, StoreError> {
        let sent_over = Some(self.connection);
        T::from_redis_value(self.value).map_err(|_| StoreError {
            kind: StoreErrorKind::Refused,
            sent_over,
        })
    }
}

impl From<i64> for Arg<'_> {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl<'a> From<&'a str> for Arg<'a> {
    fn from(text: &'a str) -> Self {
        Self::Bytes(text.as_bytes())
    }
}

impl<'a> From<&'a [u8]> for Arg<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes)
    }
}
