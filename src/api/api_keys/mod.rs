//! API auth apps and their keys.

use crate::client::WachtClient;

mod apps;

pub use self::apps::{
    ApiAuthApp, ApiAuthAppsPageBuilder, GetApiAuthAppBuilder, ListApiAuthAppsBuilder,
};

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
