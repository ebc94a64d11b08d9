//! What the dev gateway keeps, as plain data.

mod api_auth;
mod audit;
mod oauth;

pub(super) use self::api_auth::{App, Key, NewKey, Owner, Scheme, Token};
pub(super) use self::audit::AuditRow;
pub(super) use self::oauth::{Grant, OAuth, OAuthApp, OAuthClient, Scope, Settings};
