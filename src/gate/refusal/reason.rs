//! Why a key is refused, which its caller is not told.

/// Why a key is refused, for the log and the figures. A caller reads one text, whatever it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InvalidKeyReason {
    /// It cannot be one of Wacht's.
    Malformed,
    /// The gateway says no: nobody's, revoked elsewhere, expired, or of a closed app.
    Unknown,
    /// It was revoked here, or its app was closed here.
    Revoked,
    /// It is another customer's, or of another deployment.
    OtherDeployment,
    /// It is of an app that is not accepted here.
    OtherApp,
    /// It is an access token where none are accepted.
    Token,
    /// Its app is deleted or deactivated.
    AppInactive,
    /// It is past its end.
    Expired,
}

impl InvalidKeyReason {
    pub(crate) const ALL: [Self; 8] = [
        Self::Malformed,
        Self::Unknown,
        Self::Revoked,
        Self::OtherDeployment,
        Self::OtherApp,
        Self::Token,
        Self::AppInactive,
        Self::Expired,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Unknown => "unknown",
            Self::Revoked => "revoked",
            Self::OtherDeployment => "other_deployment",
            Self::OtherApp => "other_app",
            Self::Token => "token",
            Self::AppInactive => "app_inactive",
            Self::Expired => "expired",
        }
    }
}
