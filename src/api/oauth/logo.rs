//! The picture of an OAuth app.

use std::fmt;

use bytes::Bytes;

use crate::client::{Error, FileHead, Result};

/// A picture to show users who are asked for their consent.
///
/// JPEG, PNG, GIF, WebP or ICO; with everything else about the app at most 2 MiB. What the bytes
/// are is not looked at: the content type is taken at its word.
///
/// ```
/// use wacht_auth::Error;
/// use wacht_auth::models::{CreateOAuthAppRequest, Logo};
/// # use wacht_auth::dev::DevGateway;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let wacht = DevGateway::start().await;
/// # let client = wacht.client();
/// # let drawing: &'static [u8] = b"<svg/>";
/// let request = CreateOAuthAppRequest {
///     slug: "acme-oauth".to_owned(),
///     name: "Acme".to_owned(),
///     ..Default::default()
/// };
/// let logo = Logo::new(drawing, "image/svg+xml"); // not one of the five
/// let answer = client.oauth().create_oauth_app(request).logo(logo).send().await;
/// assert!(matches!(answer, Err(Error::InvalidRequest(_))));
/// # Ok(()) }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Logo {
    bytes: Bytes,
    content_type: String,
}

impl Logo {
    /// Takes a picture of this content type. Whether Wacht takes it too is checked before the
    /// app is sent.
    #[must_use]
    pub fn new(bytes: impl Into<Bytes>, content_type: impl Into<String>) -> Self {
        Self {
            bytes: bytes.into(),
            content_type: content_type.into(),
        }
    }

    /// The content type as it was given.
    #[must_use]
    pub fn content_type(&self) -> &str {
        &self.content_type
    }

    /// Wacht answers 400 to other images, and drops without a word what is no image.
    pub(super) fn check(&self) -> Result<()> {
        let problem = if self.extension().is_none() {
            format!(
                "the logo's content type {:?} is none of image/jpeg, image/png, image/gif, \
                 image/webp and image/x-icon",
                self.content_type
            )
        } else if self.bytes.is_empty() {
            "the logo is empty".to_owned()
        } else if self.bytes.len() > LIMIT {
            format!("the logo is longer than {LIMIT} bytes")
        } else {
            return Ok(());
        };
        Err(Error::InvalidRequest(problem))
    }

    pub(super) fn into_file(self) -> (Bytes, FileHead) {
        let name = format!("logo.{}", self.extension().unwrap_or("bin"));
        let content_type = self.content_type;
        (self.bytes, FileHead { name, content_type })
    }

    fn extension(&self) -> Option<&'static str> {
        Some(match self.content_type.to_ascii_lowercase().as_str() {
            "image/jpeg" | "image/jpg" => "jpg",
            "image/png" => "png",
            "image/gif" => "gif",
            "image/webp" => "webp",
            "image/x-icon" | "image/vnd.microsoft.icon" => "ico",
            _ => return None,
        })
    }
}

impl fmt::Debug for Logo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logo")
            .field("content_type", &self.content_type)
            .field("length", &self.bytes.len())
            .finish()
    }
}

/// What the management API reads of a body.
const LIMIT: usize = 2 * 1024 * 1024;
