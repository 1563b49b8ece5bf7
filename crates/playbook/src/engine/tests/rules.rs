//! The rules of the language, one by one.

use std::time::Duration;

use super::*;

fn set(id: &str, more: Value) -> Value {
    let mut step = json!({"id": id, "uses": "set", "with": {"object": id, "value": 1, "writes": 1}});
    for (key, value) in more.as_object().cloned().unwrap_or_default() {
        match value.as_object() {
            Some(members) if key == "with" => {
                members.iter().for_each(|(name, value)| step["with"][name] = value.clone());
            }
            _ => step[key] = value,
        }
    }
    step
}

#[tokio::test(start_paused = true)]
async fn a_plain_list_is_a_sequence() {
    let (world, record) =
        simple(json!([set("a", json!({})), set("b", json!({})), set("c", json!({}))]), json!({})).await;
    assert_eq!(record.outcome, Some(Outcome::Success));
    let order: Vec<_> = world.state.lock().unwrap().log.iter().map(|(step, ..)| step.clone()).collect();
    assert_eq!(order, ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn what_needs_a_step_that_failed_is_blocked_and_the_run_ends() {
    let failing = json!({"with": {"fault": "stays"}});
    let steps =
        json!([set("bad", failing.clone()), set("after", json!({})), set("always", json!({"if": "always()"})),]);
    let (_, record) = simple(steps, json!({"finally": [set("last", json!({}))]})).await;
    assert_eq!(
        outcomes(&record),
        [("after", "blocked"), ("always", "blocked"), ("bad", "failed"), ("last", "success")].into()
    );
    assert_eq!(record.outcome, Some(Outcome::Failed));
    // With `continue` the others go on, since whoever wrote it said so.
    let mut bad = set("bad", failing);
    bad["onFailure"] = json!("continue");
    let (_, record) = simple(json!([bad, set("after", json!({}))]), json!({})).await;
    assert_eq!(outcomes(&record), [("after", "success"), ("bad", "failed")].into());
}

#[tokio::test(start_paused = true)]
async fn unverified_is_no_success_and_blocks_only_what_needs_it() {
    for fault in ["unproved", "empty", "blind"] {
        let steps = json!([
            set("maybe", json!({"with": {"fault": fault}})),
            set("needs", json!({})),
            set("other", json!({"needs": []})),
            set("always", json!({"needs": ["maybe"], "if": "always() && steps.maybe.outcome == 'unverified'"})),
        ]);
        let (_, record) = simple(steps, json!({})).await;
        assert_eq!(
            outcomes(&record),
            [("always", "success"), ("maybe", "unverified"), ("needs", "blocked"), ("other", "success")].into()
        );
        assert_eq!(record.outcome, Some(Outcome::Blocked));
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_that_is_not_wanted_is_skipped_and_satisfies() {
    let steps = json!([set("no", json!({"if": "1 > 2"})), set("yes", json!({}))]);
    let (_, record) = simple(steps, json!({})).await;
    assert_eq!(outcomes(&record), [("no", "skipped"), ("yes", "success")].into());
    assert_eq!(record.outcome, Some(Outcome::Success));
}

#[tokio::test(start_paused = true)]
async fn outputs_keep_their_types_and_lists_are_gone_through() {
    let steps = json!([
        set("a", json!({"with": {"value": 7}})),
        set(
            "each",
            json!({
                "forEach": "${{ steps.a.list.map(x, x * 10) }}", "parallel": 2,
                "with": {"object": "each-${{ item }}-${{ index }}", "value": "${{ item + steps.a.value }}"},
            })
        ),
        set("sum", json!({"with": {"value": "${{ steps.each.items[0].value + steps.each.items[1].value }}"}})),
    ]);
    let people = People::default();
    // What could not be planned before is shown and approved on its own, item by item.
    people.votes.lock().unwrap().extend([("bob", true); 3]);
    let world = World::default();
    let engine = world.engine(&people);
    let playbook = playbook(&engine, steps, json!({}));
    let record = run(&engine, &playbook, &CancellationToken::new()).await.unwrap();
    assert_eq!(record.outcome, Some(Outcome::Success), "{:?}", outcomes(&record));
    let state = world.state.lock().unwrap();
    assert_eq!(state.objects["each-10-0-0"], 17);
    assert_eq!(state.objects["sum-0"], 17 + 27);
    assert_eq!(people.asked.lock().unwrap().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_was_not_shown_is_not_done_without_an_approval() {
    let steps =
        json!([set("a", json!({"with": {"value": 7}})), set("b", json!({"with": {"value": "${{ steps.a.value }}"}})),]);
    let people = People::default();
    people.votes.lock().unwrap().push(("bob", false));
    let world = World::default();
    let engine = world.engine(&people);
    let playbook = playbook(&engine, steps, json!({}));
    let plan = engine.plan(&playbook, &request(), &CancellationToken::new()).await.unwrap();
    assert_eq!(plan.steps[1].state, Planned::Later(vec!["a".to_owned()]));
    let record = run(&engine, &playbook, &CancellationToken::new()).await.unwrap();
    assert_eq!(outcomes(&record), [("a", "success"), ("b", "denied")].into());
    assert_eq!(world.state.lock().unwrap().objects.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn retries_are_for_what_may_pass() {
    let passes = json!({"retry": {"attempts": 3, "backoff": "10s"}, "with": {"fault": "passes"}});
    let (_, record) = simple(json!([set("a", passes)]), json!({})).await;
    assert_eq!((record.outcome, record.steps[0].attempts), (Some(Outcome::Success), 2));
    let stays = json!({"retry": {"attempts": 3}, "with": {"fault": "stays"}});
    let (_, record) = simple(json!([set("a", stays)]), json!({})).await;
    assert_eq!((record.outcome, record.steps[0].attempts), (Some(Outcome::Failed), 3));
    let refused = json!({"retry": {"attempts": 3}, "with": {"fault": "refused"}});
    let (_, record) = simple(json!([set("a", refused)]), json!({})).await;
    assert_eq!((record.outcome, record.steps[0].attempts), (Some(Outcome::Denied), 1));
    // What may not be repeated is not tried again once anything was written.
    let mut once = set("a", json!({"retry": {"attempts": 3}, "with": {"fault": "passes", "writes": 2}}));
    once["uses"] = json!("set.once");
    let (_, record) = simple(json!([once]), json!({})).await;
    assert_eq!((record.outcome, record.steps[0].attempts), (Some(Outcome::Failed), 1));
}

#[tokio::test(start_paused = true)]
async fn a_step_is_repeated_until_it_is_so() {
    let until = json!({"until": "outputs.ready", "every": "10s", "timeout": "1m"});
    let (_, record) = simple(json!([set("a", until)]), json!({})).await;
    assert_eq!((record.outcome, record.steps[0].attempts), (Some(Outcome::Success), 3));
    let never = json!({"until": "outputs.value == 2", "every": "10s", "timeout": "55s"});
    let (_, record) = simple(json!([set("a", never)]), json!({})).await;
    assert_eq!((record.outcome, record.steps[0].attempts), (Some(Outcome::Failed), 6));
    assert_eq!(record.steps[0].message.as_deref(), Some("not done within 55s"));
}

#[tokio::test(start_paused = true)]
async fn time_ends_a_step_between_two_writes() {
    let hangs = json!({"timeout": "30s", "with": {"fault": "hangs", "writes": 2}});
    let (world, record) = simple(json!([set("a", hangs)]), json!({})).await;
    assert_eq!(record.outcome, Some(Outcome::Failed));
    assert_eq!(record.steps[0].writes.len(), 1);
    assert_eq!(world.state.lock().unwrap().objects.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn guards_deny_before_anything_is_done() {
    let two = json!([set("a", json!({"with": {"writes": 2}}))]);
    let namespaced = |name: &str| json!([set("a", json!({"with": {"namespace": name}}))]);
    for (steps, guards, reason) in [
        (two, json!({"maxTargets": 1}), "test acts on 2 objects, and at most 1 may be"),
        (namespaced("kube-system"), json!({}), "the namespace kube-system is protected"),
        (namespaced("lifeboat"), json!({"protectedNamespaces": []}), "the namespace lifeboat is protected"),
        (namespaced("prod"), json!({"protectedNamespaces": ["prod"]}), "the namespace prod is protected"),
        (
            json!([set("a", json!({"with": {"writes": 3, "namespace": "shop"}}))]),
            json!({"blastRadius": {"perNamespace": 2}}),
            "3 objects of namespace shop within 1h, and at most 2 may be",
        ),
    ] {
        let (world, record) = simple(steps, json!({"guards": guards})).await;
        assert_eq!(record.outcome, Some(Outcome::Denied));
        assert!(record.refused.as_ref().unwrap().contains(reason), "{:?}", record.refused);
        assert_eq!(world.state.lock().unwrap().log.len(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn guards_look_back() {
    let world = World::default();
    let people = People::default();
    let engine = world.engine(&people);
    let never = CancellationToken::new();
    let cool = playbook(&engine, json!([set("a", json!({}))]), json!({"guards": {"cooldown": "10m"}}));
    assert_eq!(run(&engine, &cool, &never).await.unwrap().outcome, Some(Outcome::Success));
    let second = run(&engine, &cool, &never).await.unwrap();
    assert!(second.refused.unwrap().contains("was less than 10m ago"));
    // More runs than the limit ask people.
    let rate = json!({"guards": {"rateLimit": {"runs": 2, "per": "10m"}}});
    let often = playbook(&engine, json!([set("a", json!({}))]), rate);
    people.votes.lock().unwrap().push(("bob", true));
    let record = run(&engine, &often, &never).await.unwrap();
    assert_eq!(record.outcome, Some(Outcome::Success));
    assert_eq!(record.approvals[0].by, [Identity("bob".to_owned())]);
    // Objects of all runs together.
    let blast = json!({"guards": {"maxTargets": 5, "blastRadius": {"perCluster": 2}}});
    let wide = playbook(&engine, json!([set("b", json!({"with": {"writes": 2}}))]), blast);
    let record = run(&engine, &wide, &never).await.unwrap();
    assert!(record.refused.unwrap().contains("3 objects within 1h"));
}

#[tokio::test(start_paused = true)]
async fn approvals_are_of_other_people_and_of_exactly_this_plan() {
    let more =
        json!({"approval": {"when": "plan.changes > 0 && target.kind == 'Thing'", "quorum": 2, "timeout": "10m"}});
    for (votes, outcome, reason) in [
        (vec![("bob", true), ("cat", true)], Outcome::Success, ""),
        (vec![("bob", true), ("bob", true)], Outcome::Denied, "not approved within 10m"),
        (vec![("bob", true), ("cat", false)], Outcome::Denied, "cat did not approve"),
        (vec![("ann", true)], Outcome::Denied, "ann asked for the run and may not approve it"),
        (vec![], Outcome::Denied, "not approved within 10m"),
    ] {
        let world = World::default();
        let people = People::default();
        people.votes.lock().unwrap().extend(votes);
        let engine = world.engine(&people);
        let playbook = playbook(&engine, json!([set("a", json!({}))]), more.clone());
        let record = run(&engine, &playbook, &CancellationToken::new()).await.unwrap();
        assert_eq!(record.outcome, Some(outcome));
        assert!(record.refused.unwrap_or_default().contains(reason));
    }
    let kind = json!({"approval": {"when": "target.kind == 'Pod'"}});
    let (_, record) = simple(json!([set("a", json!({}))]), kind).await;
    assert_eq!(record.outcome, Some(Outcome::Success), "no approval is asked for");
}

#[tokio::test(start_paused = true)]
async fn only_what_was_agreed_to_is_run() {
    let world = World::default();
    let engine = world.engine(&People::default());
    let never = CancellationToken::new();
    let playbook = playbook(&engine, json!([set("a", json!({}))]), json!({}));
    let plan = engine.plan(&playbook, &request(), &never).await.unwrap();
    let again = engine.plan(&playbook, &request(), &never).await.unwrap();
    assert_eq!(plan.hash, again.hash, "the same plan has the same hash");
    let mut other = plan.clone();
    other.steps[0].plan.changes[0].object.name = "another".to_owned();
    let error = engine.run(&playbook, other, &plan.hash, Arc::new(()), &never).await.unwrap_err();
    assert!(matches!(error, EngineError::NotAgreed { .. }));
    assert_eq!(world.journals.only(), None);
}

#[tokio::test(start_paused = true)]
async fn one_run_at_a_time_acts_on_a_target() {
    let world = World::default();
    let engine = world.engine(&People::default());
    let never = CancellationToken::new();
    let slow = json!([{"id": "w", "uses": "wait.time", "with": {"for": "1m"}}]);
    let more = |policy: &str| json!({"guards": {"concurrency": "${{ 'uid-1' }}", "onConflict": policy}});
    let first = playbook(&engine, slow.clone(), more("join"));
    let refusing = playbook(&engine, slow, more("refuse"));
    // Time goes on only while the first one waits.
    let later = async |playbook: &Playbook| {
        tokio::time::sleep(Duration::from_secs(10)).await;
        run(&engine, playbook, &never).await
    };
    let (done, second, third) = tokio::join!(run(&engine, &first, &never), later(&first), later(&refusing));
    let done = done.unwrap();
    assert_eq!(done.outcome, Some(Outcome::Success));
    assert!(matches!(second, Err(EngineError::Joined(run)) if run == done.run));
    assert!(matches!(third, Err(EngineError::Busy(_))));
}

#[tokio::test(start_paused = true)]
async fn finally_knows_how_it_ended() {
    let last = json!([{
        "id": "tell", "uses": "assert",
        "with": {"that": "${{ run.outcome == 'failed' && run.summary.contains('a failed') }}", "message": "${{ run.summary }}"},
    }, {"id": "report", "uses": "report"}]);
    let (_, record) = simple(json!([set("a", json!({"with": {"fault": "stays"}}))]), json!({"finally": last})).await;
    assert_eq!(outcomes(&record), [("a", "failed"), ("report", "success"), ("tell", "success")].into());
    let report = record.step("report").unwrap().outputs.as_ref().unwrap()["markdown"].as_str().unwrap().to_owned();
    assert!(report.contains("a: set | failed"), "{report}");
}

#[tokio::test(start_paused = true)]
async fn playbooks_call_one_another() {
    let world = World::default();
    let engine = world.engine(&People::default());
    let inner = json!({
        "apiVersion": "lifeboat.dev/v1alpha1", "kind": "Playbook", "metadata": {"name": "inner"},
        "spec": {
            "description": "Inner.", "inputs": {"name": {"type": "string", "required": true}},
            "guards": {"maxTargets": 1},
            "steps": [set("write", json!({"with": {"object": "${{ inputs.name }}"}}))],
        },
    });
    let library: BTreeMap<String, String> = [("inner".to_owned(), inner.to_string())].into();
    let outer = json!({
        "apiVersion": "lifeboat.dev/v1alpha1", "kind": "Playbook", "metadata": {"name": "outer"},
        "spec": {
            "description": "Outer.",
            "steps": [{
                "id": "call", "uses": "playbook", "forEach": "${{ ['x', 'y'] }}",
                "with": {"name": "inner", "inputs": {"name": "${{ item }}"}},
            }],
        },
    });
    let outer = load("outer.yaml", &outer.to_string(), &engine.registry, &library).unwrap();
    assert_eq!(outer.actions(), ["set"]);
    let record = run(&engine, &outer, &CancellationToken::new()).await.unwrap();
    assert_eq!(record.outcome, Some(Outcome::Success), "{:?} {:?}", record.refused, outcomes(&record));
    assert_eq!(world.state.lock().unwrap().objects.keys().collect::<Vec<_>>(), ["x-0", "y-0"]);
    assert_eq!(
        outcomes(&record),
        [
            ("call", "success"),
            ("call[0]", "success"),
            ("call[0]/write", "success"),
            ("call[1]", "success"),
            ("call[1]/write", "success"),
        ]
        .into()
    );
}

#[tokio::test]
async fn many_steps_run_on_a_journal_of_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::default();
    let journals = Arc::new(DirectoryJournals::new(folder.path().to_owned()));
    let engine = Engine { journals, ..world.engine(&People::default()) };
    let step = |number: usize| {
        let with = json!({"that": "${{ 1 < 2 }}", "message": "a"});
        json!({"id": format!("s{number}"), "uses": "assert", "with": with})
    };
    let playbook = playbook(&engine, (0..200).map(step).collect(), json!({}));
    let plan = engine.plan(&playbook, &request(), &CancellationToken::new()).await.unwrap();
    let hash = plan.hash;
    let record = engine.run(&playbook, plan, &hash, Arc::new(()), &CancellationToken::new()).await.unwrap();
    assert_eq!(record.outcome, Some(Outcome::Success));
}

#[tokio::test(start_paused = true)]
async fn a_step_that_reads_what_was_skipped_is_refused_and_the_rest_is_planned() {
    let world = World::default();
    let engine = world.engine(&People::default());
    let steps = json!([
        set("no", json!({"if": "1 > 2"})),
        set("reads", json!({"needs": ["no"], "with": {"value": "${{ steps.no.value }}"}})),
        set("other", json!({"needs": []})),
    ]);
    let playbook = playbook(&engine, steps, json!({}));
    let plan = engine.plan(&playbook, &request(), &CancellationToken::new()).await.unwrap();
    let refused = plan.steps.iter().find(|step| step.step == "reads").unwrap();
    assert!(matches!(&refused.state, Planned::Refused(reason) if reason.contains("there is no 'value'")));
    assert_eq!(plan.steps.iter().filter(|step| step.state == Planned::Known).count(), 1);
}
