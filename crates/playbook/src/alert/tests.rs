//! Recorded payloads of each tool, and what is hostile.

use proptest::prelude::*;
use serde_json::json;

use super::*;

const ALERTS: [(EventSource, &str, &str); 14] = [
    (EventSource::Falco, "falco-shell", include_str!("../../testdata/alerts/falco-shell.json")),
    (EventSource::Falco, "falco-crypto", include_str!("../../testdata/alerts/falco-crypto.json")),
    (EventSource::Falco, "falco-audit", include_str!("../../testdata/alerts/falco-audit.json")),
    (EventSource::Alertmanager, "alertmanager", include_str!("../../testdata/alerts/alertmanager.json")),
    (EventSource::KubernetesAudit, "audit", include_str!("../../testdata/alerts/audit.json")),
    (EventSource::Sysdig, "sysdig-channel", include_str!("../../testdata/alerts/sysdig-channel.json")),
    (EventSource::Sysdig, "sysdig-forwarder", include_str!("../../testdata/alerts/sysdig-forwarder.json")),
    (EventSource::Trivy, "trivy-report", include_str!("../../testdata/alerts/trivy-report.json")),
    (EventSource::Trivy, "trivy-operator", include_str!("../../testdata/alerts/trivy-operator.json")),
    (EventSource::Clair, "clair-webhook", include_str!("../../testdata/alerts/clair-webhook.json")),
    (EventSource::Clair, "clair-callback", include_str!("../../testdata/alerts/clair-callback.json")),
    (EventSource::CloudEvents, "cloudevent", include_str!("../../testdata/alerts/cloudevent.json")),
    (EventSource::Generic, "generic", include_str!("../../testdata/alerts/generic.json")),
    (EventSource::Generic, "generic-least", r#"{"rule": "x"}"#),
];

fn at() -> Timestamp {
    "2026-11-21T21:00:00Z".parse().unwrap()
}

fn read(source: EventSource, body: &str) -> Result<Vec<Event>, AlertError> {
    normalise(source, None, Received { body: body.as_bytes(), headers: &[], at: at() })
}

fn one(source: EventSource, body: &Value) -> Event {
    read(source, &body.to_string()).unwrap().remove(0)
}

fn recorded(name: &str) -> Value {
    let text = ALERTS.iter().find(|(_, known, _)| *known == name).unwrap().2;
    serde_json::from_str(text).unwrap()
}

#[test]
fn recorded_payloads_become_events() {
    for (source, name, body) in ALERTS {
        let events = read(source, body).unwrap();
        assert_eq!(recognise(body.as_bytes()), Some(source), "{name}");
        assert!(events.iter().all(|event| event.digest == Digest::of(body.as_bytes())), "{name}");
        assert!(events.iter().all(|event| event.doubts.is_empty()), "{name}: {events:?}");
        let shown: Vec<Value> = events
            .iter()
            .map(|event| {
                let mut shown = serde_json::to_value(event).unwrap();
                let raw = shown["raw"].as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(", ");
                shown["raw"] = raw.into();
                shown
            })
            .collect();
        insta::assert_json_snapshot!(name, shown);
    }
}

#[test]
fn what_is_sent_again_has_the_same_id_and_what_is_new_another() {
    for (source, name, body) in ALERTS.into_iter().filter(|(.., body)| body.contains("id") || body.contains("uuid")) {
        let ids = |body: &str| read(source, body).unwrap().into_iter().map(|event| event.id).collect::<Vec<_>>();
        let again = serde_json::to_string(&serde_json::from_str::<Value>(body).unwrap()).unwrap();
        assert_eq!(ids(body), ids(&again), "{name}: other blanks");
    }
    let mut alerts = recorded("alertmanager");
    let before = one(EventSource::Alertmanager, &alerts).id;
    alerts["alerts"][0]["startsAt"] = "2026-11-22T00:00:00Z".into();
    assert_ne!(one(EventSource::Alertmanager, &alerts).id, before);
    // A client chooses the audit id of its requests; what it does with one that was used is not dropped.
    let mut entries = recorded("audit");
    let before = one(EventSource::KubernetesAudit, &entries).id;
    entries["items"][0]["objectRef"]["name"] = "web-2".into();
    assert_ne!(one(EventSource::KubernetesAudit, &entries).id, before);
    let mut alert = recorded("falco-shell");
    alert["uuid"] = Value::Null;
    let one_of = one(EventSource::Falco, &alert).id;
    alert["time"] = "2026-11-21T20:14:04Z".into();
    assert_ne!(one(EventSource::Falco, &alert).id, one_of);
}

#[test]
fn what_is_no_name_is_left_empty_and_told() {
    for (value, doubt) in [
        (json!(7), "output_fields.k8s.pod.name: no text"),
        (json!({"a": 1}), "output_fields.k8s.pod.name: no text"),
        (json!(["web-1"]), "output_fields.k8s.pod.name: no text"),
        (json!(true), "output_fields.k8s.pod.name: no text"),
        (json!("web\n1"), "output_fields.k8s.pod.name: control characters"),
        (json!("web\u{202e}1"), "output_fields.k8s.pod.name: control characters"),
        (json!("w".repeat(1025)), "output_fields.k8s.pod.name: longer than 1024 bytes"),
    ] {
        let mut alert = recorded("falco-shell");
        alert["output_fields"]["k8s.pod.name"] = value;
        let event = one(EventSource::Falco, &alert);
        assert_eq!((event.target.pod.as_str(), event.doubts), ("", vec![doubt.to_owned()]));
        assert_eq!(event.target.namespace, "shop");
    }
    for nothing in [json!(null), json!("<NA>"), json!("")] {
        let mut alert = recorded("falco-shell");
        alert["output_fields"]["k8s.pod.name"] = nothing;
        let event = one(EventSource::Falco, &alert);
        assert_eq!((event.target.pod.as_str(), event.doubts), ("", Vec::new()));
    }
}

#[test]
fn severities_are_on_one_scale_and_what_is_not_known_is_the_least() {
    let falco = |priority: Value| {
        let mut alert = recorded("falco-shell");
        alert["priority"] = priority;
        let event = one(EventSource::Falco, &alert);
        (event.severity, event.doubts.len())
    };
    for (name, number) in [("Emergency", 7), ("ALERT", 6), ("error", 4), ("Informational", 1), ("Debug", 0)] {
        assert_eq!(falco(name.into()), (number, 0), "{name}");
    }
    assert_eq!(falco("Terrible".into()), (0, 1));
    assert_eq!(falco(json!(7)), (0, 1));
    let sysdig = |severity: Value| {
        let mut alert = recorded("sysdig-forwarder");
        alert["severity"] = severity;
        let event = one(EventSource::Sysdig, &alert);
        (event.severity, event.doubts.len())
    };
    assert_eq!(
        (sysdig(json!(0)), sysdig(json!(7)), sysdig(json!(8)), sysdig(json!("high"))),
        ((7, 0), (0, 0), (0, 1), (0, 1))
    );
}

#[test]
fn text_for_people_controls_nothing() {
    let mut alert = recorded("falco-shell");
    alert["output"] = format!("a\u{1b}[2Jb\n{}", "c".repeat(9000)).into();
    let text = one(EventSource::Falco, &alert).text;
    assert!(text.starts_with("a\u{fffd}[2Jb c"), "{text}");
    assert_eq!(text.chars().count(), 4096 + 3);
}

#[test]
fn what_a_tool_does_not_send_is_refused() {
    for (source, body, wanted) in [
        (EventSource::Falco, "[]", "the body is none of Falco: it is no JSON object"),
        (EventSource::Falco, r#"{"rule": "x"}"#, "the body is none of Falco: it has no 'priority'"),
        (EventSource::Falco, r#"{"rule": null, "priority": "x"}"#, "the body is none of Falco: it has no 'rule'"),
        (EventSource::Alertmanager, r#"{"version": 4, "alerts": []}"#, "its 'version' is not \"4\""),
        (EventSource::Alertmanager, r#"{"version": "4"}"#, "it has no 'alerts'"),
        (EventSource::Alertmanager, r#"{"version": "4", "alerts": {}}"#, "'alerts' is no list"),
        (EventSource::Alertmanager, r#"{"version": "4", "alerts": [null]}"#, "it is no JSON object"),
        (EventSource::KubernetesAudit, r#"{"kind": "EventList", "items": []}"#, "it is no EventList"),
        (EventSource::Sysdig, "{}", "it has neither 'entities' nor 'id' and 'content'"),
        (EventSource::Trivy, r#"{"kind": "Pod", "apiVersion": "v1"}"#, "it is no report of aquasecurity.github.io"),
        (EventSource::Trivy, r#"{"operatorObject": 1}"#, "it is no JSON object"),
        (EventSource::Clair, r#"{"notification_id": "x"}"#, "it has neither"),
        (EventSource::CloudEvents, r#"{"specversion": "1.0", "type": "x", "id": "1"}"#, "it has no 'source'"),
        (
            EventSource::CloudEvents,
            r#"{"specversion": "0.3", "type": "x", "id": "1", "source": "y"}"#,
            "is not \"1.0\"",
        ),
        (EventSource::Generic, r#"{"rule": "x", "targt": {}}"#, "there is no member 'targt', did you mean 'target'?"),
        (
            EventSource::Generic,
            r#"{"rule": "x", "target": {"pud": ""}}"#,
            "there is no member 'pud', did you mean 'pod'?",
        ),
        (EventSource::Generic, r#"{"target": {}}"#, "it has no 'rule'"),
        (EventSource::KubeBench, "{}", "kube-bench sends no alerts"),
        (EventSource::Falco, "{", "no JSON that is accepted"),
        (EventSource::Falco, r#"{"rule": "a", "rule": "b"}"#, "a key is given twice"),
        (EventSource::Falco, "{} {}", "trailing characters"),
        (EventSource::Falco, "\u{0}", "no JSON that is accepted"),
    ] {
        let error = read(source, body).unwrap_err().to_string();
        assert!(error.contains(wanted), "{body}: {error}");
    }
}

#[test]
fn bodies_are_bounded() {
    let deep = format!(r#"{{"rule": "x", "raw": {{"a": {}1{}}}}}"#, "[".repeat(100), "]".repeat(100));
    assert!(read(EventSource::Generic, &deep).unwrap_err().to_string().contains("nested deeper than 64 levels"));
    let endless = "[".repeat(9_000_000);
    assert!(matches!(read(EventSource::Falco, &endless), Err(AlertError::Json(_))));
    let many = format!(r#"{{"rule": "x", "raw": {{"a": [{}1]}}}}"#, "1,".repeat(300_000));
    assert!(read(EventSource::Generic, &many).unwrap_err().to_string().contains("more values than are read"));
    let large = " ".repeat(MAX_ALERT_BYTES + 1);
    assert_eq!(
        read(EventSource::Falco, &large),
        Err(AlertError::TooLarge { bytes: MAX_ALERT_BYTES + 1, limit: MAX_ALERT_BYTES })
    );
    let alerts = vec![json!({"status": "firing"}); MAX_EVENTS + 1];
    let body = json!({"version": "4", "alerts": alerts}).to_string();
    assert_eq!(read(EventSource::Alertmanager, &body), Err(too_many(MAX_EVENTS + 1)));
    let entity = json!({"policyEvents": vec![json!({}); MAX_EVENTS / 2 + 1]});
    let body = json!({"entities": [entity, entity]}).to_string();
    assert_eq!(read(EventSource::Sysdig, &body), Err(too_many(MAX_EVENTS + 2)));
    let tags = json!({"rule": "x", "tags": vec!["t"; 200]}).to_string();
    let event = read(EventSource::Generic, &tags).unwrap().remove(0);
    assert_eq!((event.tags.len(), event.doubts), (100, vec!["tags: more than 100".to_owned()]));
}

#[test]
fn what_was_resolved_or_deleted_is_no_event() {
    let mut alert = recorded("sysdig-channel");
    alert["resolved"] = true.into();
    assert_eq!(read(EventSource::Sysdig, &alert.to_string()), Ok(Vec::new()));
    let mut report = recorded("trivy-operator");
    report["verb"] = "delete".into();
    assert_eq!(read(EventSource::Trivy, &report.to_string()), Ok(Vec::new()));
}

#[test]
fn cloud_events_come_in_three_modes() {
    let structured = one(EventSource::CloudEvents, &recorded("cloudevent"));
    let headers = [
        ("content-type", "application/json"),
        ("ce-specversion", "1.0"),
        ("ce-type", "com.example.security.exfiltration"),
        ("ce-source", "/detectors/egress"),
        ("ce-id", "A234-1234-1234"),
        ("ce-time", "2026-11-21T20:25:00Z"),
        ("ce-subject", "shop/web-1"),
        ("ce-severity", "critical"),
    ];
    let data = recorded("cloudevent")["data"].to_string();
    let received = Received { body: data.as_bytes(), headers: &headers, at: at() };
    let binary = normalise(EventSource::CloudEvents, None, received).unwrap().remove(0);
    assert_eq!(binary.raw["data"], structured.raw["data"]);
    assert_eq!(Event { digest: structured.digest, raw: structured.raw.clone(), ..binary }, structured);
    let batch = json!([recorded("cloudevent"), recorded("cloudevent")]);
    assert_eq!(read(EventSource::CloudEvents, &batch.to_string()).unwrap().len(), 2);
    let twice = [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-id", "2"), ("ce-type", "x"), ("ce-source", "y")];
    let received = Received { body: b"", headers: &twice, at: at() };
    assert!(normalise(EventSource::CloudEvents, None, received).is_err());
}

fn mapping(spec: Value) -> Result<Mapping, AlertError> {
    Mapping::compile(&serde_json::from_value(spec).unwrap())
}

#[test]
fn a_mapping_makes_events_of_any_json() {
    let mapping = mapping(json!({
        "items": "body.hits", "when": "item.kind != 'noise'", "id": "item.key", "rule": "'rule ' + item.kind",
        "severity": "item.level > 8 ? 'critical' : 'notice'", "tags": "item.labels", "time": "item.at",
        "target": {"pod": "item.where.pod", "namespace": "item.where.?ns.orValue('default')", "containerId": "item.none"},
    }))
    .unwrap();
    let body = json!({"hits": [
        {"kind": "scan", "key": 17, "level": 9, "labels": ["a", 1], "at": "2026-11-21T20:00:00Z", "where": {"pod": "web-1"}},
        {"kind": "noise"},
        {"kind": "probe", "key": "18", "level": 1, "labels": [], "at": "soon", "where": {"pod": 4, "ns": "shop"}},
    ]})
    .to_string();
    let received = Received { body: body.as_bytes(), headers: &[], at: at() };
    let events = normalise(EventSource::Generic, Some(&mapping), received).unwrap();
    let shown = |event: &Event| {
        (event.id.clone(), event.rule.clone(), event.severity, event.target.namespace.clone(), event.target.pod.clone())
    };
    let expected = |id: &str, rule: &str, severity, namespace: &str, pod: &str| {
        (id.to_owned(), rule.to_owned(), severity, namespace.to_owned(), pod.to_owned())
    };
    assert_eq!(
        events.iter().map(shown).collect::<Vec<_>>(),
        [expected("17", "rule scan", 5, "default", "web-1"), expected("18", "rule probe", 2, "shop", ""),]
    );
    assert_eq!(events[0].doubts, ["containerId: there is no 'none'", "tags: no text"].map(str::to_owned));
    assert_eq!(events[1].doubts.len(), 3, "{:?}", events[1].doubts);
    assert_eq!(events[0].raw["key"], 17);
}

#[test]
fn a_mapping_that_makes_no_sense_is_refused() {
    for (spec, wanted) in [
        (json!({"rule": "body."}), "the mapping's 'rule'"),
        (json!({"rule": "item.x"}), "no variable 'item'"),
        (json!({"items": "body.x", "rule": "body.y"}), "no variable 'body'"),
        (json!({"rule": "body.x", "target": {"pod": "event.x"}}), "the mapping's 'pod'"),
    ] {
        assert!(mapping(spec.clone()).unwrap_err().to_string().contains(wanted), "{spec}");
    }
    serde_json::from_value::<MappingSpec>(json!({"rule": "body.x", "target": {"pud": "1"}})).unwrap_err();
    let body = json!({"l": vec![1; 2000]}).to_string();
    let received = Received { body: body.as_bytes(), headers: &[], at: at() };
    let run = |spec: Value| normalise(EventSource::Generic, Some(&mapping(spec).unwrap()), received);
    assert!(run(json!({"items": "body.none", "rule": "'x'"})).is_err());
    assert!(run(json!({"items": "'x'", "rule": "'x'"})).is_err());
    assert!(run(json!({"when": "body.l", "rule": "'x'"})).is_err());
    // Loops of all expressions together are bounded: what comes after is left empty.
    let endless = json!({"rule": "string(body.l.map(a, body.l.map(b, a + b).size()).size())"});
    let events = run(endless).unwrap();
    assert_eq!((events[0].rule.as_str(), events[0].doubts.len()), ("", 1));
}

/// Any JSON, with the keys that the tools use among its own.
fn any_json() -> impl Strategy<Value = Value> {
    let keys: Vec<String> = ALERTS
        .iter()
        .flat_map(|(.., body)| body.split('"').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        proptest::sample::select(keys.clone()).prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 8, move |inner| {
        let key = prop_oneof![3 => proptest::sample::select(keys.clone()), 1 => any::<String>()];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            proptest::collection::vec((key, inner), 0..8)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Puts a value in the place of one of a document's own.
pub(crate) fn put(value: &mut Value, place: &mut usize, other: &Value) {
    if *place == 0 {
        value.clone_from(other);
        *place = usize::MAX;
        return;
    }
    *place -= 1;
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| put(item, place, other)),
        Value::Object(members) => members.values_mut().for_each(|member| put(member, place, other)),
        _ => {}
    }
}

fn sources() -> impl Strategy<Value = EventSource> {
    proptest::sample::select(ALERTS.map(|(source, ..)| source).to_vec())
}

/// What holds of every answer.
fn is_sound(found: Result<Vec<Event>, AlertError>) {
    let Ok(events) = found else { return };
    assert!(events.len() <= MAX_EVENTS);
    for event in events {
        assert!(event.severity <= 7 && !event.id.is_empty() && event.id.len() < 4096);
        let target = serde_json::to_string(&event.target).unwrap();
        assert!(!target.contains("\\u00") && !target.contains("\\n"), "{target}");
        assert!(!event.text.chars().any(char::is_control));
    }
}

proptest! {
    #[test]
    fn no_json_breaks_anything(source in sources(), body in any_json()) {
        is_sound(read(source, &body.to_string()));
    }

    #[test]
    fn no_bytes_break_anything(source in sources(), body in proptest::collection::vec(any::<u8>(), 0..300)) {
        is_sound(normalise(source, None, Received { body: &body, headers: &[], at: at() }));
        let _ = recognise(&body);
    }

    #[test]
    fn recorded_payloads_with_other_values_break_nothing(
        (which, places, others) in (0..ALERTS.len(), proptest::collection::vec(0_usize..120, 1..4), any_json())
    ) {
        let (source, _, text) = ALERTS[which];
        let mut body: Value = serde_json::from_str(text).unwrap();
        for mut place in places {
            put(&mut body, &mut place, &others);
        }
        is_sound(read(source, &body.to_string()));
    }

    #[test]
    fn recorded_payloads_cut_off_are_refused(which in 0..ALERTS.len(), part in any::<prop::sample::Index>()) {
        let (source, _, text) = ALERTS[which];
        let end = part.index(text.trim_end().len());
        let cut = text.char_indices().map(|(at, _)| at).take_while(|at| *at <= end).last().unwrap_or(0);
        prop_assert!(read(source, &text[..cut]).is_err());
    }
}
