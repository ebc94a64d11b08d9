//! All rows of the audit log, one after the other.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::vec;

use futures_core::Stream;

use super::model::{ApiAuditLogsPage, AuditLog};
use crate::client::Result;

/// All rows of the audit log, newest first; made by
/// [`GetApiAuditLogsBuilder::stream`](super::GetApiAuditLogsBuilder::stream).
///
/// Ends after the last row, or after the first error. Dropping it ends what is under way.
#[must_use = "a stream does nothing until it is read"]
pub struct ApiAuditLogsStream {
    rows: vec::IntoIter<AuditLog>,
    next: Option<Next>,
}

/// The page under way, and how the one after it is fetched.
struct Next {
    page: PageUnderWay,
    /// Where that page begins.
    cursor: Option<String>,
    fetch: Box<dyn Fn(Option<String>) -> PageUnderWay + Send + Sync>,
}

type PageUnderWay = Pin<Box<dyn Future<Output = Result<ApiAuditLogsPage>> + Send + Sync>>;

impl ApiAuditLogsStream {
    /// Reads from `cursor` on what `fetch` fetches: the page that begins at a cursor.
    pub(super) fn new<F>(
        cursor: Option<String>,
        fetch: impl Fn(Option<String>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<ApiAuditLogsPage>> + Send + Sync + 'static,
    {
        let fetch = move |cursor| -> PageUnderWay { Box::pin(fetch(cursor)) };
        Self {
            rows: Vec::new().into_iter(),
            next: Some(Next {
                page: fetch(cursor.clone()),
                cursor,
                fetch: Box::new(fetch),
            }),
        }
    }
}

impl Next {
    /// What comes after `page`, if it says that anything does. The cursor alone says nothing.
    fn after(mut self, page: &ApiAuditLogsPage) -> Option<Self> {
        let ends = !page.has_more || page.items.is_empty() || page.next_cursor == self.cursor;
        if ends {
            return None;
        }
        self.cursor.clone_from(&page.next_cursor);
        self.page = (self.fetch)(self.cursor.clone());
        Some(self)
    }
}

impl Stream for ApiAuditLogsStream {
    type Item = Result<AuditLog>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(row) = self.rows.next() {
                return Poll::Ready(Some(Ok(row)));
            }
            let Some(next) = &mut self.next else {
                return Poll::Ready(None);
            };
            let answer = ready!(next.page.as_mut().poll(cx));
            let over = self.next.take();
            let page = match answer {
                Ok(page) => page,
                Err(error) => return Poll::Ready(Some(Err(error))),
            };
            self.next = over.and_then(|next| next.after(&page));
            self.rows = page.items.into_iter();
        }
    }
}

impl fmt::Debug for ApiAuditLogsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiAuditLogsStream")
            .field("at_hand", &self.rows.len())
            .field("complete", &self.next.is_none())
            .finish_non_exhaustive()
    }
}
