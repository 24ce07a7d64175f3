//! A connection that is cut in the middle of a commit: nothing is lost and nothing is done twice.

use std::time::{Duration, Instant};

use lar_core::audit::chain::check;
use lar_core::ledger::{Conflict, Hold, Ledger, UseState};
use lar_core::outcome::Verdict;

use super::proxy::{Moment, Proxy};
use crate::server::{connect, new_database, shared};
use crate::support::*;

const MOMENTS: [Moment; 4] = [
    Moment::BeforeTheRequest,
    Moment::WithinTheRequest,
    Moment::BeforeTheAnswer,
    Moment::WithinTheAnswer,
];

fn through_a_proxy() -> Option<(Proxy, std::sync::Arc<dyn Ledger>)> {
    let url = new_database()?;
    let proxy = Proxy::start(shared()?.socket());
    let ledger = connect(&proxy.url(&url));
    Some((proxy, ledger))
}

async fn records(ledger: &dyn Ledger, hold: &Hold) -> u64 {
    let records = ledger.records(&hold.run, 1, 1_000).await.unwrap();
    check(&records).unwrap().records
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spend_is_made_once_whenever_its_connection_is_cut() {
    let Some((proxy, ledger)) = through_a_proxy() else { return };
    let hold = start(ledger.as_ref(), "r", vec![granted("t", 4)]).await;
    for (turn, moment) in (1u32..).zip(MOMENTS) {
        proxy.cut("start", moment);
        let receipt = step(ledger.as_ref(), &hold, turn.into(), START).await.unwrap();
        assert_eq!(proxy.cuts(), turn, "{moment:?}");
        assert_eq!((receipt.fence, receipt.uses_left), (1, 4 - turn), "{moment:?}");
        assert_eq!(receipt.seq, u64::from(turn) + 1, "{moment:?}");
        let started = state(ledger.as_ref(), &hold.run, turn.into()).await;
        assert_eq!(started, UseState::Started { fence: 1 }, "{moment:?}");
        assert_eq!(records(ledger.as_ref(), &hold).await, u64::from(turn) + 1, "{moment:?}");
    }
    let fifth = conflict(step(ledger.as_ref(), &hold, 5, START).await);
    assert_eq!(fifth, Conflict::NoUseLeft);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_other_change_is_made_once_too() {
    let Some((proxy, ledger)) = through_a_proxy() else { return };
    let ledger = ledger.as_ref();
    for moment in MOMENTS {
        let name = format!("r-{}", format!("{moment:?}").to_lowercase());
        proxy.cut("run_open", moment);
        let opened = start_opened(ledger, &name, vec![with_approval("t", 2)]).await;
        let hold = opened.hold;
        assert_eq!(records(ledger, &hold).await, 1, "{moment:?}");

        proxy.cut("reserve", moment);
        let held = step(ledger, &hold, 1, HOLD).await.unwrap();
        assert_eq!((held.fence, held.uses_left), (1, 1), "{moment:?}");
        proxy.cut("approve", moment);
        step(ledger, &hold, 1, approve(&held)).await.unwrap();
        let begin = lar_core::ledger::Transition::Start { held: Some(1) };
        step(ledger, &hold, 1, begin).await.unwrap();
        proxy.cut("succeeded", moment);
        step(ledger, &hold, 1, finish(Verdict::Succeeded)).await.unwrap();
        proxy.cut("TokenScopeError", moment);
        let noted = ledger.commit(note(&hold)).await.unwrap();
        assert_eq!(noted.seq, 6, "{moment:?}");
        assert_eq!(records(ledger, &hold).await, 6, "{moment:?}");

        let mut page = note(&hold);
        (page.record, page.journal) = (None, Some(b"the-page".to_vec()));
        proxy.cut("the-page", moment);
        ledger.commit(page).await.unwrap();
        assert_eq!(ledger.journal(&hold.run, 1, 9).await.unwrap(), [b"the-page"], "{moment:?}");

        proxy.cut("run_close", moment);
        let closed = ledger.close_run(closing(&hold)).await.unwrap();
        assert_eq!(closed.seq, 7, "{moment:?}");
        let records = ledger.records(&hold.run, 1, 1_000).await.unwrap();
        assert!(check(&records).unwrap().closed, "{moment:?}");
    }
    assert_eq!(proxy.cuts(), 7 * 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_answers_slowly_is_waited_for() {
    let Some((proxy, ledger)) = through_a_proxy() else { return };
    let hold = start(ledger.as_ref(), "r", vec![granted("t", 1)]).await;
    proxy.delay(Duration::from_millis(1_500));
    let begun = Instant::now();
    step(ledger.as_ref(), &hold, 1, START).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(1_500));
    proxy.delay(Duration::ZERO);
    assert_eq!(conflict(step(ledger.as_ref(), &hold, 2, START).await), Conflict::NoUseLeft);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_never_comes_is_looked_up() {
    let Some((proxy, ledger)) = through_a_proxy() else { return };
    let hold = start(ledger.as_ref(), "r", vec![granted("t", 1)]).await;
    proxy.cut("start", Moment::Never);
    let receipt = step(ledger.as_ref(), &hold, 1, START).await.unwrap();
    assert_eq!((receipt.seq, receipt.uses_left), (2, 0));
    assert_eq!(records(ledger.as_ref(), &hold).await, 2);
}
