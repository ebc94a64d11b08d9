//! The watch: one list of an app's keys after the other.

mod options;

pub use self::options::Watch;
