//! The key of a request.
//!
//! In come the headers and the URI. `identity_headers` drops what would be taken for the gate's word,
//! `taken` takes keys out of where everybody reads along, `extract` finds the one key in the places
//! that `source` names, by `scheme`, `basic` and `cookie`, past what is `foreign`, and `key` judges its
//! form. Out goes a [`Credential`], and from there on the [`KeyDigest`] that stands for it: `verdict` is
//! next.

mod basic;
mod cookie;
mod extract;
mod foreign;
mod identity_headers;
mod key;
mod scheme;
mod source;
mod taken;

pub(crate) use extract::{Credentials, Decoded};
pub(crate) use key::{Credential, KeyDigest, Malformed};
pub use source::CredentialSource;
pub(crate) use source::SourceKind;
