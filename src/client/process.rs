//! The client of the process, which free functions use.

use std::sync::OnceLock;

use super::config::GATE_DEADLINE;
use super::config_error::{ConfigError, ConfigErrorKind};
use super::error::Result;
use super::wacht_client::WachtClient;

static CLIENT: OnceLock<WachtClient> = OnceLock::new();

/// Sets the client that the free functions of [`crate::api`] use, such as
/// [`api_keys::get_api_auth_app`](crate::api::api_keys::get_api_auth_app). Once per process, in
/// `main`; before that, each of their calls is an [`Error::Config`](crate::Error::Config).
///
/// ```
/// use wacht_auth::WachtClient;
///
/// # fn main() -> wacht_auth::Result<()> {
/// wacht_auth::init(WachtClient::new("wk_live_..."))?;
/// assert!(wacht_auth::init(WachtClient::new("wk_live_...")).is_err());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`Error::Config`](crate::Error::Config) when the client was set before; it stays as it is.
pub fn init(client: WachtClient) -> Result<()> {
    CLIENT.set(client).map_err(|_| {
        let message = "the client of this process is set already: call `init` once";
        ConfigError::new(ConfigErrorKind::ProcessClient, message).into()
    })
}

impl WachtClient {
    pub(crate) fn of_this_process() -> Self {
        CLIENT.get().cloned().unwrap_or_else(|| {
            let message = "no client for free functions: call `wacht_auth::init` first";
            let error = ConfigError::new(ConfigErrorKind::ProcessClient, message);
            Self::of(Err(error), GATE_DEADLINE)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::api_keys;
    use crate::client::Error;

    // The only test of this process that may set the client.
    #[tokio::test]
    async fn free_functions_need_a_client_that_is_set_once() {
        let early = api_keys::get_api_auth_app("a").send().await;
        let Err(Error::Config(early)) = early else {
            panic!("{early:?}");
        };
        assert_eq!(early.kind(), ConfigErrorKind::ProcessClient);
        assert!(early.to_string().contains("init"), "{early}");

        let nobody = WachtClient::builder("sk_0")
            .api_url("http://127.0.0.1:1")
            .gateway_url("http://127.0.0.1:1")
            .no_retries()
            .build()
            .unwrap();
        init(nobody.clone()).unwrap();
        assert!(matches!(init(nobody), Err(Error::Config(_))));
        let late = api_keys::get_api_auth_app("a").send().await;
        assert!(matches!(late, Err(Error::Request(_))), "{late:?}");
    }
}
