//! The management API: `/api-auth` and `/oauth`.

mod apps;
mod audit;
mod keys;
mod multipart;
mod oauth_apps;
mod oauth_client_settings;
mod oauth_clients;
mod oauth_grants;
mod oauth_scopes;
mod query;
mod refusal;
mod room;
mod route;
mod schemes;
mod shown;
mod update;

pub(super) use self::route::route;
