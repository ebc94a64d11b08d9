//! An entry of the stream: which event it is about, and how far that is.

use serde::{Deserialize, Serialize};

use crate::client::events::{ManagementEvent, Outcome};

/// What one replica tells the others. Never a key: ids, digests, and the slugs of apps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    #[serde(rename = "by")]
    pub(super) id: EventId,
    #[serde(rename = "at")]
    pub(super) stage: Stage,
    #[serde(flatten)]
    pub(super) event: Event,
}

/// Tells one event from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct EventId(pub(super) u64, pub(super) u64);

/// How far an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stage {
    /// The call is about to be sent.
    Sent,
    /// It was done, and what was to be told before it was sent is behind the others' entries that
    /// were there by then.
    Done,
    /// It was done, and nobody knows what of the others' came before it was sent.
    DoneUntold,
    /// Definitely nothing happened.
    Nothing,
    /// Nobody knows.
    Indeterminate,
}

/// [`ManagementEvent`], as it travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Event {
    RevokeKey { app: Box<str>, key_id: i64 },
    RevokeKeyId { key_id: i64 },
    RevokeDigest { digest: Digest },
    CloseApp { app: Box<str> },
    OpenApp { app: Box<str> },
    ChangeApp { app: Box<str> },
    ForgetDigest { digest: Digest },
    ForgetKeyId { key_id: i64 },
    ForgetApp { app: Box<str> },
    ForgetAll,
}

/// A SHA-256 digest, in hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Digest([u8; 32]);

impl Entry {
    /// What the bytes say, if they are an entry at all.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > LONGEST {
            return None;
        }
        let entry: Self = serde_json::from_slice(bytes).ok()?;
        let is_slug = |app: &str| app.len() <= LONGEST_SLUG;
        let is_fine = match &entry.event {
            Event::RevokeKey { app, .. }
            | Event::CloseApp { app }
            | Event::OpenApp { app }
            | Event::ChangeApp { app }
            | Event::ForgetApp { app } => is_slug(app),
            _ => true,
        };
        is_fine.then_some(entry)
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        // Numbers and strings: it cannot fail, and an empty entry would be skipped.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl Stage {
    /// What became of the event, if that is known.
    pub(super) fn outcome(self) -> Option<Outcome> {
        match self {
            Self::Sent => None,
            Self::Done | Self::DoneUntold => Some(Outcome::Done),
            Self::Nothing => Some(Outcome::Nothing),
            Self::Indeterminate => Some(Outcome::Indeterminate),
        }
    }
}

impl From<&ManagementEvent> for Event {
    fn from(event: &ManagementEvent) -> Self {
        match event {
            ManagementEvent::RevokeKey { app, key_id } => Self::RevokeKey {
                app: app.clone(),
                key_id: *key_id,
            },
            ManagementEvent::RevokeKeyId(key_id) => Self::RevokeKeyId { key_id: *key_id },
            ManagementEvent::RevokeDigest(digest) => Self::RevokeDigest {
                digest: Digest(*digest),
            },
            ManagementEvent::CloseApp(app) => Self::CloseApp { app: app.clone() },
            ManagementEvent::OpenApp(app) => Self::OpenApp { app: app.clone() },
            ManagementEvent::ChangeApp(app) => Self::ChangeApp { app: app.clone() },
            ManagementEvent::ForgetDigest(digest) => Self::ForgetDigest {
                digest: Digest(*digest),
            },
            ManagementEvent::ForgetKeyId(key_id) => Self::ForgetKeyId { key_id: *key_id },
            ManagementEvent::ForgetApp(app) => Self::ForgetApp { app: app.clone() },
            ManagementEvent::ForgetAll => Self::ForgetAll,
        }
    }
}

impl From<Event> for ManagementEvent {
    fn from(event: Event) -> Self {
        match event {
            Event::RevokeKey { app, key_id } => Self::RevokeKey { app, key_id },
            Event::RevokeKeyId { key_id } => Self::RevokeKeyId(key_id),
            Event::RevokeDigest { digest } => Self::RevokeDigest(digest.0),
            Event::CloseApp { app } => Self::CloseApp(app),
            Event::OpenApp { app } => Self::OpenApp(app),
            Event::ChangeApp { app } => Self::ChangeApp(app),
            Event::ForgetDigest { digest } => Self::ForgetDigest(digest.0),
            Event::ForgetKeyId { key_id } => Self::ForgetKeyId(key_id),
            Event::ForgetApp { app } => Self::ForgetApp(app),
            Event::ForgetAll => Self::ForgetAll,
        }
    }
}

impl From<Digest> for String {
    fn from(Digest(bytes): Digest) -> Self {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl TryFrom<String> for Digest {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const WRONG: &str = "not the hexadecimal digits of 32 bytes";
        let digits = text.as_bytes();
        let mut bytes = [0; 32];
        if digits.len() != 2 * bytes.len() {
            return Err(WRONG);
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |digit: u8| char::from(digit).to_digit(16).ok_or(WRONG);
            let [high, low] = [digit(pair[0])?, digit(pair[1])?];
            *byte = u8::try_from(high * 16 + low).map_err(|_| WRONG)?;
        }
        Ok(Self(bytes))
    }
}

/// Of an entry. The longest slug, every character of it escaped, is half of this.
const LONGEST: usize = 4096;
/// No longer one goes into a path.
const LONGEST_SLUG: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    fn every() -> [ManagementEvent; 10] {
        [
            ManagementEvent::RevokeKey {
                app: "orders".into(),
                key_id: i64::MAX,
            },
            ManagementEvent::RevokeKeyId(-1),
            ManagementEvent::RevokeDigest([0xA5; 32]),
            ManagementEvent::CloseApp("\"\u{1F980}\n".into()),
            ManagementEvent::OpenApp("orders".into()),
            ManagementEvent::ChangeApp("orders".into()),
            ManagementEvent::ForgetDigest([1; 32]),
            ManagementEvent::ForgetKeyId(7),
            ManagementEvent::ForgetApp("orders".into()),
            ManagementEvent::ForgetAll,
        ]
    }

    #[test]
    fn every_event_comes_out_as_it_went_in() {
        for event in every() {
            for stage in [
                Stage::Sent,
                Stage::Done,
                Stage::DoneUntold,
                Stage::Nothing,
                Stage::Indeterminate,
            ] {
                let entry = Entry {
                    id: EventId(u64::MAX, 3),
                    stage,
                    event: (&event).into(),
                };
                let read = Entry::parse(&entry.to_bytes()).unwrap();
                assert_eq!(read, entry);
                assert_eq!(ManagementEvent::from(read.event), event);
            }
        }
    }

    #[test]
    fn what_is_no_entry_is_none() {
        let long = "x".repeat(LONGEST_SLUG + 1);
        for text in [
            String::new(),
            "garbage".to_owned(),
            "{}".to_owned(),
            r#"{"by":[1,2],"at":"sent","event":"of_another_version"}"#.to_owned(),
            r#"{"by":[1,2],"at":"sent","event":"revoke_key_id"}"#.to_owned(),
            r#"{"by":[1,2],"at":"sent","event":"revoke_digest","digest":"00"}"#.to_owned(),
            format!(r#"{{"by":[1,2],"at":"sent","event":"close_app","app":"{long}"}}"#),
            format!(
                r#"{{"by":[1,2],"at":"sent","event":"forget_all","x":"{}"}}"#,
                "x".repeat(LONGEST)
            ),
        ] {
            assert_eq!(Entry::parse(text.as_bytes()), None, "{text}");
        }
        let more = br#"{"by":[1,2],"at":"done","event":"forget_all","new":1}"#;
        assert!(Entry::parse(more).is_some(), "a later version may say more");
    }
}
