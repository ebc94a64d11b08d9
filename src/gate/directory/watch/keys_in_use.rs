//! The keys that lists are held against.

use crate::api::api_keys::KeyList;
use crate::clock::Now;

/// The keys in use, app by app.
///
/// Verdicts hold apps, so this room knows of them only what stands here.
pub(crate) trait KeysInUse: Send + Sync {
    /// Lets go of an app none of whose keys may be used unasked any more. Says whether it did.
    fn drop_unused(&self, app: &str, now: Now) -> bool;

    /// A list is about to be sent. What is filed from now on has been asked for too late for it to say
    /// anything of.
    fn list_begins(&self) -> u32;

    /// Takes what a list says of an app.
    fn take_list(&self, app: &str, list: &KeyList, asked: Asked) -> Judged;

    /// Takes what a list says that has the revoked keys too, of those that another lacked; or that
    /// there is none to be had.
    fn take_confirmation(&self, app: &str, missing: &[i64], list: Option<&KeyList>);
}

/// How a list was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// What [`list_begins`](KeysInUse::list_begins) gave it.
    pub(crate) number: u32,
    pub(crate) sent: Now,
    /// Whether the one before was overtaken.
    pub(crate) is_again: bool,
}

/// What is left to do after a list.
#[derive(Debug, Default)]
pub(crate) struct Judged {
    /// Keys in use that it lacks, to be looked for among the revoked ones.
    pub(crate) missing: Vec<i64>,
    /// Whether a key was verified while the list was on its way, and the two disagree.
    pub(crate) is_overtaken: bool,
}
