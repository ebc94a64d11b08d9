//! The key of a request.
//!
//! In come the headers. `identity_headers` drops what would be taken for the gate's word, `extract`
//! finds the one key in the places that `source` names, and `key` judges its form. Out goes a
//! [`Credential`], and from there on the [`KeyDigest`] that stands for it: `verdict` is next.

mod bearer;
mod extract;
mod identity_headers;
mod key;
mod source;

pub(crate) use extract::Credentials;
pub(crate) use key::{Credential, KeyDigest, Malformed};
pub use source::CredentialSource;
