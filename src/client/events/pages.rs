//! What one replica has read of the management API for all of them.

use std::pin::Pin;
use std::time::Duration;

/// Pages that replicas read for each other.
pub(crate) trait SharedPages: Send + Sync {
    /// Looks for a page that was asked for less than `max_age` ago, by whomever.
    fn look<'a>(
        &'a self,
        page: PageName<'a>,
        max_age: Duration,
    ) -> Pin<Box<dyn Future<Output = SharedPage> + Send + 'a>>;

    /// Gives a page to the others, who find it for so long, or, without one, the right to read it back.
    fn put<'a>(
        &'a self,
        page: PageName<'a>,
        turn: &'a Turn,
        bytes: Option<&'a [u8]>,
        kept_for: Duration,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
}

/// What replicas call a page.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(
    not(feature = "redis"),
    expect(dead_code, reason = "only a store reads it")
)]
pub(crate) struct PageName<'a> {
    pub(crate) name: &'a str,
    /// Whether no request waits for it: then a long one is given more time than requests have.
    pub(crate) is_behind: bool,
}

/// What there is of a page.
#[derive(Debug)]
#[cfg_attr(
    not(feature = "redis"),
    expect(dead_code, reason = "only a store makes them")
)]
pub(crate) enum SharedPage {
    /// It was read so long ago, by whoever had this turn.
    Read {
        page: Vec<u8>,
        turn: Turn,
        age: Duration,
    },
    /// Nobody has it, and it is ours to read: others wait for it for a while.
    Ours(Turn),
    /// Another replica is reading it.
    Theirs,
    /// Nobody can be asked: who wants it reads it for himself.
    Away,
}

/// The right to read a page for all.
#[derive(Clone, Debug)]
pub(crate) struct Turn(pub(crate) String);
