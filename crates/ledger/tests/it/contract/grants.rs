//! Named grants: issued once, drawn from by many runs, ended at once.

use lar_core::audit::chain::Checker;
use lar_core::audit::record::{Account, Body};
use lar_core::ledger::{
    Conflict, Definitions, GrantId, Granted, Hold, Issuing, Ledger, LedgerError, LedgerId, Opened,
    Source, Transition,
};
use lar_core::outcome::Verdict;

use super::{Fresh, on_every_ledger};
use crate::support::*;

on_every_ledger! {
    runs_draw_from_the_same_uses,
    a_grant_is_issued_once_and_shown_with_what_is_left,
    a_run_never_creates_a_named_grant,
    a_run_with_other_definitions_is_refused,
    revocation_stops_the_next_spend,
    an_expired_grant_takes_neither_runs_nor_spends,
    a_new_epoch_quarantines_what_was_issued_before,
    a_candidate_is_unlocked_once,
    what_cannot_be_granted_is_refused,
}

fn id(name: &str) -> GrantId {
    GrantId::new(name).unwrap()
}

async fn issue(ledger: &dyn Ledger, name: &str, tokens: Vec<Granted>) {
    ledger.issue(issuing(name, tokens)).await.unwrap();
}

fn issuing(name: &str, tokens: Vec<Granted>) -> Issuing {
    Issuing { grant: id(name), tokens, definitions: definitions(), expires: None }
}

async fn draw(ledger: &dyn Ledger, name: &str, grant: &str) -> Result<Opened, LedgerError> {
    let source = Source::Named { grant: id(grant), ledger: None, definitions: definitions() };
    ledger.open_run(memory_ledger::opening(&run(name), source)).await
}

async fn accounts(ledger: &dyn Ledger, hold: &Hold) -> Vec<Account> {
    let records = ledger.records(&hold.run, 1, 100).await.unwrap();
    let mut checker = Checker::default();
    match records.iter().map(|r| checker.read(&r.bytes, &r.openings).unwrap()).last().unwrap().body
    {
        Body::RunClose(close) => close.tokens,
        other => panic!("{other:?}"),
    }
}

async fn runs_draw_from_the_same_uses(fresh: Fresh) {
    let (ledger, other) = (fresh.ledger.as_ref(), (fresh.again)());
    issue(ledger, "release-2.3.1", vec![granted("t", 2), granted("idle", 1)]).await;
    let one = draw(ledger, "one", "release-2.3.1").await.unwrap();
    step(ledger, &one.hold, 1, START).await.unwrap();
    step(ledger, &one.hold, 1, finish(Verdict::Succeeded)).await.unwrap();
    // The pipeline is tried again, on another host.
    let two = draw(other.as_ref(), "two", "release-2.3.1").await.unwrap();
    assert_eq!(two.grant, id("release-2.3.1"));
    let left: Vec<u32> = two.tokens.iter().map(|token| token.uses_left).collect();
    assert_eq!(left, [1, 1]);
    step(other.as_ref(), &two.hold, 1, START).await.unwrap();
    assert_eq!(conflict(step(ledger, &one.hold, 2, START).await), Conflict::NoUseLeft);
    assert_eq!(conflict(step(ledger, &two.hold, 2, START).await), Conflict::NoUseLeft);
    ledger.close_run(closing(&one.hold)).await.unwrap();
    let spent = &accounts(ledger, &one.hold).await[0];
    assert_eq!((spent.granted, spent.succeeded, spent.unused, spent.elsewhere), (2, 1, 0, 1));
}

async fn a_grant_is_issued_once_and_shown_with_what_is_left(fresh: Fresh) {
    let ledger = fresh.ledger.as_ref();
    issue(ledger, "a", vec![granted("t", 2)]).await;
    issue(ledger, "b", vec![granted("t", 2)]).await;
    let twice = ledger.issue(issuing("a", vec![granted("t", 9)])).await;
    assert_eq!(twice.unwrap_err(), LedgerError::GrantExists("a".to_owned()));
    // A run's own grant is not among those that were issued.
    start(ledger, "r", vec![granted("t", 1)]).await;
    let all = ledger.grants().await.unwrap();
    assert_eq!(all.iter().map(|grant| grant.id.as_str()).collect::<Vec<_>>(), ["b", "a"]);
    let hold = draw(ledger, "x", "a").await.unwrap().hold;
    step(ledger, &hold, 1, START).await.unwrap();
    let grant = ledger.grant(&id("a")).await.unwrap().unwrap();
    assert_eq!(grant.tokens[0].uses_left, 1);
    assert_eq!(grant.definitions, definitions());
    assert_eq!((grant.revoked, grant.expires, grant.epoch), (None, None, 1));
    assert_eq!(ledger.grant(&id("none")).await.unwrap(), None);
}

async fn a_run_never_creates_a_named_grant(fresh: Fresh) {
    let ledger = fresh.ledger.as_ref();
    let unknown = draw(ledger, "r", "release").await.unwrap_err();
    assert_eq!(unknown, LedgerError::UnknownGrant("release".to_owned()));
    assert!(ledger.runs().await.unwrap().is_empty(), "nothing was opened");
    issue(ledger, "release", vec![granted("t", 1)]).await;
    let elsewhere = Source::Named {
        grant: id("release"),
        ledger: Some(LedgerId::of_random([1; 16])),
        definitions: definitions(),
    };
    let refused = ledger.open_run(memory_ledger::opening(&run("r"), elsewhere)).await.unwrap_err();
    assert!(matches!(refused, LedgerError::OtherLedger { .. }), "{refused}");
    let here = ledger.identity().await.unwrap();
    let right = Source::Named {
        grant: id("release"),
        ledger: Some(here.ledger),
        definitions: definitions(),
    };
    ledger.open_run(memory_ledger::opening(&run("r"), right)).await.unwrap();
    // A run's own grant can't be drawn from by another.
    let source = Source::Named {
        grant: GrantId::of_run(&run("r")),
        ledger: None,
        definitions: definitions(),
    };
    let refused = ledger.open_run(memory_ledger::opening(&run("s"), source)).await.unwrap_err();
    assert!(matches!(refused, LedgerError::UnknownGrant(_)), "{refused}");
}

async fn a_run_with_other_definitions_is_refused(fresh: Fresh) {
    let ledger = fresh.ledger.as_ref();
    issue(ledger, "g", vec![granted("t", 1)]).await;
    let source = Source::Named {
        grant: id("g"),
        ledger: None,
        definitions: Definitions::from_text("{\"a\":2}"),
    };
    let refused = ledger.open_run(memory_ledger::opening(&run("r"), source)).await.unwrap_err();
    assert_eq!(refused, LedgerError::OtherDefinitions("g".to_owned()));
}

async fn revocation_stops_the_next_spend(fresh: Fresh) {
    let (ledger, other) = (fresh.ledger.as_ref(), (fresh.again)());
    issue(ledger, "g", vec![granted("t", 5), with_approval("held", 1)]).await;
    let hold = draw(ledger, "r", "g").await.unwrap().hold;
    step(ledger, &hold, 1, START).await.unwrap();
    let held = step_on(ledger, &hold, "held", 2, HOLD).await.unwrap();
    step_on(ledger, &hold, "held", 2, approve(&held)).await.unwrap();
    let revoked = other.revoke(&id("g"), "a leak").await.unwrap().revoked.unwrap();
    assert_eq!(revoked.reason, "a leak");
    assert_eq!(conflict(step(ledger, &hold, 3, START).await), Conflict::Revoked);
    let begin = Transition::Start { held: Some(held.fence) };
    let late = step_on(ledger, &hold, "held", 2, begin).await;
    assert_eq!(conflict(late), Conflict::Revoked);
    step(ledger, &hold, 1, finish(Verdict::Succeeded)).await.unwrap();
    let again = other.revoke(&id("g"), "another reason").await.unwrap().revoked.unwrap();
    assert_eq!(again, revoked, "the first revocation stands");
    let refused = draw(ledger, "s", "g").await.unwrap_err();
    assert!(refused.to_string().contains("a leak"), "{refused}");
    let unknown = ledger.revoke(&id("none"), "").await.unwrap_err();
    assert!(matches!(unknown, LedgerError::UnknownGrant(_)));
}

async fn an_expired_grant_takes_neither_runs_nor_spends(fresh: Fresh) {
    let ledger = fresh.ledger.as_ref();
    let issued = ledger.issue(issuing("probe", vec![])).await.unwrap().issued;
    let soon = issued.plus_millis(3_000);
    let mut brief = issuing("g", vec![granted("t", 5)]);
    brief.expires = Some(soon);
    ledger.issue(brief).await.unwrap();
    let hold = draw(ledger, "r", "g").await.unwrap().hold;
    tokio::time::sleep(std::time::Duration::from_millis(3_100)).await;
    assert_eq!(conflict(step(ledger, &hold, 1, START).await), Conflict::GrantExpired(soon));
    let refused = draw(ledger, "s", "g").await.unwrap_err();
    assert!(refused.to_string().contains("expired"), "{refused}");
}

async fn a_new_epoch_quarantines_what_was_issued_before(fresh: Fresh) {
    let ledger = fresh.ledger.as_ref();
    issue(ledger, "g", vec![granted("t", 5)]).await;
    let named = draw(ledger, "r", "g").await.unwrap().hold;
    let own = start(ledger, "own", vec![granted("t", 5)]).await;
    step(ledger, &named, 1, START).await.unwrap();
    let before = ledger.identity().await.unwrap();
    let after = ledger.bump_epoch().await.unwrap();
    assert_eq!((after.ledger, after.epoch), (before.ledger, before.epoch + 1));
    for hold in [&named, &own] {
        assert_eq!(conflict(step(ledger, hold, 2, START).await), Conflict::Quarantined);
    }
    step(ledger, &named, 1, finish(Verdict::Succeeded)).await.unwrap();
    let refused = draw(ledger, "s", "g").await.unwrap_err();
    assert!(refused.to_string().contains("epoch"), "{refused}");
    issue(ledger, "g-2", vec![granted("t", 5)]).await;
    let hold = draw(ledger, "s", "g-2").await.unwrap().hold;
    step(ledger, &hold, 1, START).await.unwrap();
}

async fn a_candidate_is_unlocked_once(fresh: Fresh) {
    let ledger = fresh.ledger.as_ref();
    let candidate = Granted { candidate: true, ..granted("t", 2) };
    issue(ledger, "g", vec![candidate]).await;
    let hold = draw(ledger, "r", "g").await.unwrap().hold;
    assert_eq!(conflict(step(ledger, &hold, 1, START).await), Conflict::Locked);
    let mut unlock = note(&hold);
    unlock.unlock = vec!["t".to_owned()];
    ledger.commit(unlock.clone()).await.unwrap();
    assert_eq!(conflict(ledger.commit(unlock.clone()).await), Conflict::Locked);
    unlock.unlock = vec!["none".to_owned()];
    assert!(matches!(conflict(ledger.commit(unlock).await), Conflict::UnknownToken(_)));
    step(ledger, &hold, 1, START).await.unwrap();
    // It was unlocked for that run: another can neither use it nor unlock it again.
    let later = draw(ledger, "s", "g").await.unwrap();
    assert_eq!(later.tokens[0].unlocked_by, Some(run("r")));
    assert_eq!(conflict(step(ledger, &later.hold, 1, START).await), Conflict::Locked);
    let mut again = note(&later.hold);
    again.unlock = vec!["t".to_owned()];
    assert_eq!(conflict(ledger.commit(again).await), Conflict::Locked);
}

async fn what_cannot_be_granted_is_refused(fresh: Fresh) {
    let ledger = fresh.ledger.as_ref();
    for tokens in [
        vec![granted("t", 0)],
        vec![granted("t", lar_core::token::MAX_USES + 1)],
        vec![granted("t", 1), granted("t", 1)],
    ] {
        let refused = ledger.issue(issuing("g", tokens.clone())).await.unwrap_err();
        assert!(matches!(refused, LedgerError::BadRecord(_)), "{refused}");
        let refused = ledger.open_run(opening("r", tokens)).await.unwrap_err();
        assert!(matches!(refused, LedgerError::BadRecord(_)), "{refused}");
    }
    let own = Issuing { grant: GrantId::of_run(&run("r")), ..issuing("g", vec![]) };
    assert!(matches!(ledger.issue(own).await, Err(LedgerError::BadRecord(_))));
}
