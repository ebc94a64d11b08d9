//! API auth apps and their keys.

use crate::client::WachtClient;

mod apps;
mod key_id;

pub use self::apps::{
    ApiAuthApp, ApiAuthAppsPageBuilder, GetApiAuthAppBuilder, ListApiAuthAppsBuilder,
};
pub use self::key_id::KeyId;

/// The calls about API auth apps and keys; made by [`WachtClient::api_keys`].
#[derive(Clone, Debug)]
pub struct ApiKeys {
    client: WachtClient,
}

impl ApiKeys {
    pub(crate) fn new(client: WachtClient) -> Self {
        Self { client }
    }
}
