//! How much the management API gives at once.

use super::DevGateway;
use crate::dev::DevRule;

impl DevGateway {
    /// Lets the management keys of the main deployment make so many calls a minute, by the
    /// gateway's clock; beyond that they are answered 429. Default, as Wacht's: 1000.
    ///
    /// ```
    /// use wacht_auth::dev::DevGateway;
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// wacht.management_limit(1);
    /// let client = wacht.client();
    /// let apps = client.api_keys().list_api_auth_apps();
    /// assert!(apps.clone().send().await.is_ok());
    /// assert!(apps.page(50, 0).send().await.unwrap_err().is_rate_limited());
    /// # Ok(()) }
    /// ```
    pub fn management_limit(&self, calls_a_minute: u32) {
        let calls = i32::try_from(calls_a_minute).unwrap_or(i32::MAX);
        let rule = DevRule::per_app(calls, "minute", 1);
        self.main.system_app().scheme([rule]);
    }

    /// Lets a page of the list of apps have so many rows at most, whatever is asked for. Default,
    /// as Wacht's: as many as are asked for.
    ///
    /// ```
    /// use wacht_auth::dev::DevGateway;
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let wacht = DevGateway::start().await;
    /// wacht.page_limit(2);
    /// for slug in ["a", "b", "c"] {
    ///     wacht.app(slug);
    /// }
    /// let client = wacht.client();
    /// let page = client.api_keys().list_api_auth_apps().page(100, 0).send().await?;
    /// assert_eq!((page.items.len(), page.has_more), (2, true));
    /// # Ok(()) }
    /// ```
    pub fn page_limit(&self, rows: u32) {
        self.shared.state().page_limit = rows.into();
    }
}
