//! Words that stand for a choice.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Makes an enum of words, and of whatever other word may come.
macro_rules! words {
    (
        $(#[$about:meta])*
        $name:ident { $($(#[$about_word:meta])* $variant:ident = $word:literal,)* }
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$about_word])* $variant,)*
            /// A word this version does not know.
            Unknown(String),
        }

        impl $name {
            /// The word on the wire.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $word,)*
                    Self::Unknown(word) => word,
                }
            }
        }

        impl From<&str> for $name {
            fn from(word: &str) -> Self {
                match word {
                    $($word => Self::$variant,)*
                    _ => Self::Unknown(word.to_owned()),
                }
            }
        }

        impl From<String> for $name {
            fn from(word: String) -> Self {
                Self::from(word.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer).map(Self::from)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

words! {
    /// What a scope is about, which decides what permission it may be mapped to.
    #[derive(Default)]
    OAuthScopeCategory {
        /// Nobody has said.
        #[default]
        Unset = "",
        /// The user alone; mapped to no permission.
        Personal = "personal",
        /// An organization of the user's.
        Organization = "organization",
        /// A workspace of the user's.
        Workspace = "workspace",
    }
}

words! {
    /// How a client shows that it is itself.
    #[derive(Default)]
    OAuthClientAuthMethod {
        /// Its secret, by HTTP basic authentication.
        #[default]
        ClientSecretBasic = "client_secret_basic",
        /// Its secret, in the body.
        ClientSecretPost = "client_secret_post",
        /// A token signed with its secret.
        ClientSecretJwt = "client_secret_jwt",
        /// Not at all: a public client.
        None = "none",
        /// A token signed with its private key.
        PrivateKeyJwt = "private_key_jwt",
    }
}

words! {
    /// How a client comes by an access token.
    OAuthGrantType {
        /// By a code, after the user agreed. Wacht wants every client to have this one.
        AuthorizationCode = "authorization_code",
        /// By a refresh token.
        RefreshToken = "refresh_token",
    }
}

words! {
    /// What access tokens are.
    OAuthAccessTokenFormat {
        /// Random; the gateway looks them up.
        Opaque = "opaque",
        /// Signed statements. The gateway knows none of them and refuses them all.
        Jwt = "jwt",
    }
}

words! {
    /// Where a grant stands.
    OAuthGrantStatus {
        /// Tokens of it pass, unless it has ended by its date.
        Active = "active",
        /// It was taken back.
        Revoked = "revoked",
        /// It has ended.
        Expired = "expired",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_round_trip_and_unknown_ones_are_kept() {
        for word in ["", "personal", "organization", "workspace", "galaxy"] {
            let category = OAuthScopeCategory::from(word);
            assert_eq!(category.as_str(), word);
            assert_eq!(serde_json::to_value(&category).unwrap(), word);
            let unknown = matches!(category, OAuthScopeCategory::Unknown(_));
            assert_eq!(unknown, word == "galaxy");
        }
        let status: OAuthGrantStatus = serde_json::from_str(r#""dormant""#).unwrap();
        assert_eq!(status, OAuthGrantStatus::Unknown("dormant".to_owned()));
    }
}
