//! What a read of the stream brings.

use redis::Value;

use super::entry::Entry;

/// The id of an entry: milliseconds, and a number within them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StreamId(pub(super) u64, pub(super) u64);

/// What a read brings.
pub(super) struct Read {
    pub(super) id: StreamId,
    /// None, if they are none that a replica makes.
    pub(super) fields: Option<Fields>,
}

pub(super) struct Fields {
    pub(super) born: String,
    pub(super) seq: u64,
    pub(super) entry: Option<Entry>,
}

// === impl StreamId ===

impl StreamId {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (milliseconds, number) = text.split_once('-')?;
        Some(Self(milliseconds.parse().ok()?, number.parse().ok()?))
    }
}

/// The entries in the answer to a read, in their order.
pub(super) fn entries(answer: Value) -> Vec<Read> {
    type Streams = Option<Vec<(Value, Vec<(String, Vec<Value>)>)>>;
    let streams: Streams = redis::from_redis_value(answer).unwrap_or_default();
    let of_all = streams.into_iter().flatten();
    let of_all = of_all.flat_map(|(_, entries)| entries);
    of_all
        .filter_map(|(id, fields)| {
            Some(Read {
                id: StreamId::parse(&id)?,
                fields: Fields::parse(fields),
            })
        })
        .collect()
}

impl Fields {
    /// The fields of an entry, if they are those that the script makes.
    fn parse(fields: Vec<Value>) -> Option<Self> {
        let fields: [Value; 6] = fields.try_into().ok()?;
        let [born, name, seq, number, event, entry] =
            fields.map(|field| redis::from_redis_value::<Vec<u8>>(field).unwrap_or_default());
        if (&*born, &*seq, &*event) != (b"born", b"seq", b"event") {
            return None;
        }
        let text = |bytes| String::from_utf8(bytes).ok();
        Some(Self {
            born: text(name)?,
            seq: text(number)?.parse().ok()?,
            entry: Entry::parse(&entry),
        })
    }
}
