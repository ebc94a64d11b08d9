//! What happens to keys and apps.

/// Something that a gate must not sleep through.
///
/// A *revocation* is one of the first four: from the moment that it begins, what it names is
/// refused. What the last four name is asked about again; they come from other replicas, as who
/// forgets something here has done so before he says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ManagementEvent {
    /// Revokes or rotates the API key with this id of this app. A key of the same id that belongs
    /// to another app is somebody else's, and not meant.
    RevokeKey { app: Box<str>, key_id: i64 },
    /// Refuses the API key with this id, whatever app of ours it belongs to.
    RevokeKeyId(i64),
    /// Refuses the credential with this SHA-256 digest, of whichever kind.
    RevokeDigest([u8; 32]),
    /// Deletes or deactivates the app.
    CloseApp(Box<str>),
    /// Creates or activates the app.
    OpenApp(Box<str>),
    /// Changes the app without ending any key of it.
    ChangeApp(Box<str>),
    /// Forgets the credential with this SHA-256 digest.
    ForgetDigest([u8; 32]),
    /// Forgets the API key with this id.
    ForgetKeyId(i64),
    /// Forgets all keys of the app, and the app.
    ForgetApp(Box<str>),
    /// Forgets everything.
    ForgetAll,
}
