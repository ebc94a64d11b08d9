//! What other replicas are told, and when.

use std::future::ready;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::client::StoreUnavailable;

/// Writes down what it is given to tell.
#[derive(Default)]
struct Others {
    heard: Mutex<Vec<String>>,
    are_deaf: AtomicBool,
    do_not_answer: AtomicBool,
}

impl Others {
    fn of(events: &Events) -> Arc<Self> {
        let others = Arc::new(Self::default());
        assert!(events.share(Arc::clone(&others) as Arc<dyn EventSink>));
        others
    }

    fn note(&self, what: String) {
        self.heard.lock().unwrap().push(what);
    }

    fn heard(&self) -> Vec<String> {
        std::mem::take(&mut *self.heard.lock().unwrap())
    }
}

type Told<'a> = Pin<Box<dyn Future<Output = Result<(), StoreUnavailable>> + Send + 'a>>;

impl EventSink for Others {
    fn begins(&self, _: &ManagementEvent, sent: Order) {
        self.note(format!("begins {}", sent.0));
    }

    fn settled(&self, _: &ManagementEvent, sent: Order, outcome: Outcome) {
        self.note(format!("{outcome:?} {}", sent.0));
    }

    fn done(&self, _: &ManagementEvent) {
        self.note("done".to_owned());
    }

    fn told(&self) -> Told<'_> {
        if self.do_not_answer.load(Ordering::Relaxed) {
            return Box::pin(future::pending());
        }
        Box::pin(ready(match self.are_deaf.load(Ordering::Relaxed) {
            true => Err(StoreUnavailable("they are deaf".to_owned())),
            false => Ok(()),
        }))
    }

    fn check(&self) -> Told<'_> {
        self.told()
    }

    fn is_sent_untold(&self, sent: Order) {
        self.note(format!("untold {}", sent.0));
    }

    fn is_idle(&self) -> bool {
        false
    }

    fn keep_current(&self) {}

    fn pages(&self) -> &dyn SharedPages {
        panic!("nobody reads here")
    }

    fn stats(&self) -> StoreStats {
        StoreStats::default()
    }
}

#[tokio::test]
async fn others_are_told_before_the_call_is_sent_and_once_it_is_answered() {
    let (events, _clock) = events();
    let others = Others::of(&events);
    let call = async {
        others.note("sent".to_owned());
        Ok(())
    };
    events.announced(revoke(7), call).await.unwrap();
    assert_eq!(others.heard(), ["begins 1", "sent", "Done 1"]);
}

#[tokio::test]
async fn a_call_goes_out_although_nobody_could_be_told_and_has_its_result() {
    let (events, _clock) = events();
    let others = Others::of(&events);
    others.are_deaf.store(true, Ordering::Relaxed);
    let answer = events.announced(open(), async { Ok("its result") }).await;
    assert_eq!(answer.unwrap(), "its result");
    assert_eq!(others.heard(), ["begins 1", "untold 1", "Done 1"]);
}

#[test]
fn a_call_that_is_dropped_before_it_was_sent_has_done_nothing() {
    let (events, _clock) = events();
    let gate = Gate::on(&events);
    let others = Others::of(&events);
    others.do_not_answer.store(true, Ordering::Relaxed);
    {
        let call =
            async { panic!("it must not be sent before others are told, or not to be told") };
        let mut call = pin!(events.announced::<()>(revoke(7), call));
        let mut context = Context::from_waker(Waker::noop());
        assert!(call.as_mut().poll(&mut context).is_pending());
        assert!(gate.refuses(&revoke(7)), "here it counts at once");
    }
    assert_eq!(others.heard(), ["begins 1", "Nothing 1"]);
    assert!(!gate.refuses(&revoke(7)));
}

#[test]
fn what_comes_from_elsewhere_is_heard_here_and_told_to_nobody() {
    let (events, _clock) = events();
    let gate = Gate::on(&events);
    let others = Others::of(&events);
    let sent = events.begin_elsewhere(revoke(7));
    events.settle_elsewhere(sent, Outcome::Done, true);
    assert!(gate.refuses(&revoke(7)));
    assert_eq!(others.heard(), [""; 0]);
    events.publish(RevokeKeyId(8));
    assert_eq!(others.heard(), ["done"]);
    events.tell_others(&ManagementEvent::ForgetAll);
    assert_eq!(others.heard(), ["done"]);
    assert!(!gate.begun().contains(&ManagementEvent::ForgetAll));
}

#[test]
fn an_opening_elsewhere_that_may_have_overlapped_lifts_nothing() {
    for (lifts, is_closed) in [(true, false), (false, true)] {
        let (events, _clock) = events();
        let gate = Gate::on(&events);
        let closing = events.begin_elsewhere(close());
        events.settle_elsewhere(closing, Outcome::Done, true);
        let opening = events.begin_elsewhere(open());
        events.settle_elsewhere(opening, Outcome::Done, lifts);
        assert_eq!(gate.refuses(&close()), is_closed);
        assert_eq!(
            Gate::on(&events).refuses(&close()),
            is_closed,
            "a later gate"
        );
    }
}
