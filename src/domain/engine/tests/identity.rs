//! Whose request it is, and pass-through.

use super::*;
use crate::domain::rejection::Reason;

fn reason(engine: &Engine, key: Option<KeyHash>, prefix: Option<&str>) -> Option<Reason> {
    engine
        .identify(&Credential { key, prefix, source_ip: None }, START)
        .err()
        .map(|refused| refused.reason)
}

#[test]
fn the_key_selects_the_tenant_and_the_prefix_must_agree() {
    let engine = engine(|_| ());

    assert_eq!(&**engine.tenant_name(who(&engine, BATCH)), "acme");
    assert_eq!(reason(&engine, Some(PROD), Some("acme")), None);
    assert_eq!(reason(&engine, Some(PROD), Some("beta")), Some(Reason::UnknownKey));
    assert_eq!(reason(&engine, Some(PROD), Some("nobody")), Some(Reason::UnknownKey));
    assert_eq!(reason(&engine, Some(REAL), None), Some(Reason::UnknownKey));
    assert_eq!(reason(&engine, None, None), Some(Reason::UnknownKey));
}

#[test]
fn the_real_key_serves_under_the_prefix_of_a_tenant_that_allows_it() {
    let mut engine = engine(|policy| acme(policy).accept_account_key = true);

    assert_eq!(reason(&engine, Some(REAL), Some("acme")), None);
    assert_eq!(reason(&engine, Some(REAL), Some("beta")), Some(Reason::UnknownKey));
    assert_eq!(reason(&engine, Some(REAL), None), Some(Reason::UnknownKey));

    let credential = Credential { key: Some(REAL), prefix: Some("acme"), source_ip: None };
    let identity = engine.identify(&credential, START).unwrap();
    engine.reconfigure(&changed(|_| ()), START);
    let Decision::Reject { rejection, .. } = engine.admit(submission(identity), START) else {
        panic!("admitted")
    };
    assert_eq!(rejection.reason, Reason::RevokedKey);
}

#[test]
fn a_key_bound_to_networks_serves_from_nowhere_else() {
    let engine = engine(|policy| prod(policy).allow_from = vec!["10.0.0.0/8".parse().unwrap()]);
    let from = |ip: Option<&str>| {
        let source_ip = ip.map(|ip| ip.parse().unwrap());
        engine.identify(&Credential { key: Some(PROD), prefix: None, source_ip }, START)
    };

    assert!(from(Some("10.1.2.3")).is_ok());
    assert!(from(Some("::ffff:10.1.2.3")).is_ok());
    assert_eq!(from(Some("11.0.0.1")).unwrap_err().reason, Reason::IpDenied);
    assert_eq!(from(None).unwrap_err().reason, Reason::IpDenied);
}

#[test]
fn a_revocation_outlives_the_key_in_the_config() {
    let policy = changed(|policy| {
        policy.revoked.insert(PROD, Wall::MIN);
    });
    let engine = started(&policy, Restored::default(), START);

    assert_eq!(reason(&engine, Some(PROD), None), Some(Reason::RevokedKey));
    assert_eq!(reason(&engine, Some(BATCH), None), None);
}

#[test]
fn a_rerolled_key_is_the_same_key_until_its_first_secret_is_taken_back() {
    let new = KeyHash([44; 32]);
    let both = changed(|policy| prod(policy).rerolls.push(new));
    let mut engine = started(&both, Restored::default(), START);
    let identity = who(&engine, PROD);
    assert_eq!(who(&engine, new), identity);

    let late = changed(|policy| {
        prod(policy).rerolls.push(new);
        policy.revoked.insert(PROD, Wall::MIN);
    });
    engine.reconfigure(&late, START);

    assert_eq!(reason(&engine, Some(PROD), None), Some(Reason::RevokedKey));
    assert_eq!(who(&engine, new), identity);
    admit(&mut engine, new, START);
}

#[test]
fn the_first_secret_of_a_rerolled_key_ends_at_its_instant_with_nobody_looking() {
    let (new, end) = (KeyHash([44; 32]), START.wall + secs(60));
    let engine = engine(|policy| {
        prod(policy).rerolls.push(new);
        policy.revoked.insert(PROD, end);
    });
    let at = |key: KeyHash, wall: Wall| {
        let credential = Credential { key: Some(key), prefix: None, source_ip: None };
        engine.identify(&credential, Now { wall, ..START }).map_err(|refused| refused.reason)
    };

    assert!(at(PROD, Wall(end.0 - 1)).is_ok());
    assert_eq!(at(PROD, end), Err(Reason::RevokedKey));
    assert_eq!(at(new, end), Ok(who(&engine, PROD)));
}

#[test]
fn pass_through_admits_every_key_and_enforces_nothing() {
    let mut policy = pass_through();
    let anybody = Arc::make_mut(policy.tenants.get_mut("default").unwrap());
    anybody.limits.in_flight_max = Some(0);
    let mut engine = started(&Arc::new(policy), Restored::default(), START);

    for key in [PROD, BETA, KeyHash([77; 32])] {
        assert_eq!(&**engine.tenant_name(who(&engine, key)), "default");
        admit(&mut engine, key, START);
    }
    assert!(
        engine.identify(&Credential { key: None, prefix: None, source_ip: None }, START).is_ok()
    );
}

#[test]
fn in_pass_through_a_task_is_its_submitters_and_every_other_is_forwarded_unseen() {
    let mut engine = started(&Arc::new(pass_through()), Restored::default(), START);
    open(&mut engine, "t1", START);

    assert_eq!(poll(&mut engine, BETA, "t1", START), PollDecision::Untracked);
    assert_eq!(poll(&mut engine, PROD, "from-before", START), PollDecision::Untracked);
    assert_eq!(ask(&mut engine, "t1", solved(), START), OFFERED);
    assert_eq!(poll(&mut engine, BETA, "t1", START + secs(2)), PollDecision::Untracked);
    assert!(matches!(poll(&mut engine, PROD, "t1", START + secs(2)), PollDecision::Memory { .. }));
}

#[test]
fn in_pass_through_a_solve_that_its_client_left_is_no_sli_event() {
    let mut engine = started(&Arc::new(pass_through()), Restored::default(), START);
    open(&mut engine, "left", START);
    open(&mut engine, "asked", START);
    ask(&mut engine, "asked", PollResult::Pending, START + DEADLINE.saturating_sub(secs(5)));
    writes(&mut engine);

    assert_eq!(watch(&mut engine, &solved(), START + DEADLINE), 0, "there is no key to ask with");

    let written = writes(&mut engine);
    let ended: Vec<_> =
        verdicts(&written).iter().map(|record| (record.task_id.clone(), record.outcome)).collect();
    assert!(ended.contains(&(Some(task("left")), Outcome::ClientError)));
    assert!(ended.contains(&(Some(task("asked")), Outcome::Timeout)));
    assert_eq!(Outcome::ClientError.sli_event(), None);
    assert!(
        verdicts(&written).iter().all(|record| record.success_event == record.outcome.sli_event())
    );
}

#[test]
fn in_pass_through_a_restored_task_belongs_to_who_polls_it_first() {
    let policy = Arc::new(pass_through());
    let mut engine = started(&policy, Restored::default(), START);
    open(&mut engine, "t1", START);
    let Some(Write::Bind(record)) = writes(&mut engine).pop() else { panic!("not bound") };
    let restored = Restored { tasks: vec![record], next_solve: 1, ..Restored::default() };
    let mut engine = started(&policy, restored, START);

    assert_eq!(ask(&mut engine, "t1", PollResult::Pending, START), PASSED);
    assert_eq!(poll(&mut engine, BETA, "t1", START + secs(2)), PollDecision::Untracked);
}
