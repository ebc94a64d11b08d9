//! All rows of the audit log, one after the other.

use std::collections::HashSet;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::vec;

use futures_core::Stream;

use super::model::{ApiAuditLogsPage, AuditLog};
use crate::client::{DecodeError, Result};

/// All rows of the audit log, newest first; made by
/// [`GetApiAuditLogsBuilder::stream`](super::GetApiAuditLogsBuilder::stream).
///
/// Ends after the last row, or after the first error. Dropping it ends what is under way. It keeps
/// the ids of the rows it has read, some 50 bytes each.
#[must_use = "a stream does nothing until it is read"]
pub struct ApiAuditLogsStream {
    rows: vec::IntoIter<AuditLog>,
    next: Option<Next>,
}

/// The page under way, and how the one after it is fetched.
struct Next {
    page: PageUnderWay,
    /// How many rows are before that page.
    offset: u32,
    /// The ids of all rows that have been read.
    read: HashSet<Box<str>>,
    /// How many pages in a row had nothing but those.
    repetitions: u32,
    fetch: Box<dyn Fn(u32) -> PageUnderWay + Send + Sync>,
}

type PageUnderWay = Pin<Box<dyn Future<Output = Result<ApiAuditLogsPage>> + Send + Sync>>;

impl ApiAuditLogsStream {
    /// Reads from `offset` on what `fetch` fetches: the page behind so many rows.
    pub(super) fn new<F>(offset: u32, fetch: impl Fn(u32) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<ApiAuditLogsPage>> + Send + Sync + 'static,
    {
        let fetch = move |offset| -> PageUnderWay { Box::pin(fetch(offset)) };
        Self {
            rows: Vec::new().into_iter(),
            next: Some(Next {
                page: fetch(offset),
                offset,
                read: HashSet::new(),
                repetitions: 0,
                fetch: Box::new(fetch),
            }),
        }
    }
}

impl Next {
    /// The rows of `page` that were not on a page before, and what comes after it, if it says that
    /// anything does.
    ///
    /// Rows that are written meanwhile push those that were read onto later pages.
    ///
    /// # Errors
    ///
    /// If the pages no longer get any further.
    fn after(mut self, page: ApiAuditLogsPage) -> Result<(Vec<AuditLog>, Option<Self>)> {
        let count = page.items.len();
        let mut rows = page.items;
        rows.retain(|row| self.read.insert(row.request_id.as_str().into()));
        let offset = u32::try_from(count)
            .ok()
            .and_then(|count| self.offset.checked_add(count));
        let Some(offset) = offset.filter(|_| page.has_more && count > 0) else {
            return Ok((rows, None));
        };
        self.repetitions = if rows.is_empty() {
            self.repetitions + 1
        } else {
            0
        };
        if self.repetitions == MOST_REPETITIONS {
            let detail = "page after page repeats the one before, as when rows are written faster \
                          than they are read: give a larger `limit`";
            return Err(DecodeError::new("the audit logs", detail).into());
        }
        self.offset = offset;
        self.page = (self.fetch)(offset);
        Ok((rows, Some(self)))
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
            let Some(over) = self.next.take() else {
                return Poll::Ready(None);
            };
            match answer.and_then(|page| over.after(page)) {
                Ok((rows, next)) => {
                    self.rows = rows.into_iter();
                    self.next = next;
                }
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
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

/// So many pages without a row that is new, and there will be none.
const MOST_REPETITIONS: u32 = 10;
