//! Every fault of a file at once.

use std::collections::BTreeMap;

use super::*;
use crate::add_builtin;

fn registry() -> Registry {
    let mut registry = Registry::new();
    add_builtin(&mut registry).unwrap();
    registry
}

fn faults(text: &str) -> String {
    let library: BTreeMap<String, String> = [
        (
            "inner",
            book(
                "inner",
                "  inputs: {pod: {type: string, required: true}}\n",
                "    - {id: w, uses: wait.time, with: {for: 1s}}\n",
            ),
        ),
        ("loops", book("loops", "", "    - {id: c, uses: playbook, with: {name: loops}}\n")),
        ("broken", book("broken", "", "    - {id: c, uses: wait.tim}\n")),
    ]
    .map(|(name, text)| (name.to_owned(), text))
    .into();
    match load("book.yaml", text, &registry(), &library) {
        Ok(_) => "no faults".to_owned(),
        Err(errors) => errors.to_string(),
    }
}

fn book(name: &str, more: &str, steps: &str) -> String {
    format!(
        "apiVersion: lifeboat.dev/v1alpha1\nkind: Playbook\nmetadata: {{name: {name}}}\nspec:\n  description: A test.\n{more}  steps:\n{steps}"
    )
}

/// One file with every kind of fault; each is told, at its place, with the nearest name.
#[test]
fn all_faults_are_told_at_once() {
    let text = "\
apiVersion: lifeboat.dev/v1alpha
kind: Playbok
metadata: {name: Contain Pod, labels: {}}
spec:
  descripton: A test.
  inputs:
    pod: {type: strin, required: true}
    count: {type: integer, default: many}
    mode: {type: string, enum: [a, b], default: c}
    both: {type: boolean, required: true, default: true}
    on-call: {type: string}
  triggers:
    - {name: shell, source: falko, when: event.rule == 'x'}
    - {name: shell, source: falco, when: event.sevrity >= severity.waring, inputs: {pods: x, both: 7}}
  guards: {maxTargets: -1, cooldown: 10 minuts, concurrency: \"${{ steps.wait.form }}\", onConflict: merge}
  approval: {when: target.namspace == 'prod', quorum: 0, onTimeout: never}
  steps:
    - id: wait
      uses: wait.time
      with: {for: 10, until: 5s}
    - id: wait
      uses: wiat.time
    - {id: no good, uses: report, with: {x: 1}}
    - {id: types, uses: assert, with: {that: \"${{ inputs.count }}\", message: \"${{ inputs.cuont }}\"}}
    - {id: text, uses: assert, with: {that: \"is ${{ inputs.both }}\", message: a}}
    - {id: cel, uses: assert, with: {that: \"${{ 1 + }}\", message: \"${{ inputs.both\"}}
    - {id: early, uses: assert, needs: [], with: {that: true, message: \"${{ steps.wait.from }}\"}}
    - {id: needs, uses: report, needs: [wiat, needs]}
    - {id: keys, uses: report, every: 5s, parallel: 3, timeout: soon, onFailure: contnue, if: inputs.count}
    - {id: list, uses: report, forEach: \"${{ inputs.both }}\", until: outputs.markdwn == ''}
    - {id: plain, uses: report, forEach: everything}
    - {id: all, uses: assert, with: {that: \"${{ steps.exists(x, x == 'a') }}\", message: a}}
    - {id: fun, uses: assert, if: alway(), with: {that: true, message: \"${{ inputs.pod.startWith('a') }}\"}}
    - {uses: report}
    - {id: call, uses: playbook, with: {name: iner}}
    - {id: call2, uses: playbook, with: {name: inner, inputs: {pot: x}}}
    - {id: call3, uses: playbook, with: {name: loops}}
    - {id: call4, uses: playbook, with: {name: broken}}
    - {id: call5, uses: playbook}
    - notes
  finally:
    - {id: last, uses: report, needs: [wait]}
    - {id: end, uses: assert, with: {that: \"${{ run.outcome == 1 }}\", message: \"${{ run.sumary }}\"}}
";
    insta::assert_snapshot!(faults(text));
}

#[test]
fn cycles_are_told_in_their_order() {
    let steps = "    - {id: a, uses: report, needs: [c]}\n    - {id: b, uses: report}\n    - {id: c, uses: report}\n";
    assert_eq!(faults(&book("x", "", steps)), "book.yaml:7:7: steps need one another: a needs c needs b needs a");
}

#[test]
fn what_is_no_yaml_is_told_with_its_place() {
    assert!(faults("apiVersion: [\n").starts_with("book.yaml:"));
    assert!(faults("").contains("book.yaml:"));
    assert!(faults("- a\n").contains("expected a mapping, found a list"));
    let long = "#".repeat(MAX_PLAYBOOK_BYTES + 1);
    assert_eq!(faults(&long), format!("book.yaml:1:1: the playbook is longer than {MAX_PLAYBOOK_BYTES} bytes"));
}

#[test]
fn ten_thousand_steps_are_the_most() {
    let steps = |count: usize| -> String {
        (0..count).map(|n| format!("    - {{id: s{n}, uses: assert, with: {{that: true, message: a}}}}\n")).collect()
    };
    let text = book("x", "", &steps(MAX_STEPS));
    let loaded = load("x", &text, &registry(), &BTreeMap::new());
    assert_eq!(loaded.map(|playbook| playbook.size()), Ok(MAX_STEPS));
    assert!(faults(&book("x", "", &steps(MAX_STEPS + 1))).contains("at most 10000 items"));
    // Called playbooks count as often as they are called.
    let library: BTreeMap<String, String> = [("half".to_owned(), book("half", "", &steps(MAX_STEPS / 2)))].into();
    let twice =
        "    - {id: a, uses: playbook, with: {name: half}}\n    - {id: b, uses: playbook, with: {name: half}}\n";
    let errors = load("x", &book("x", "", twice), &registry(), &library).unwrap_err();
    assert!(errors.to_string().contains("more than 10000 steps"), "{errors}");
}

#[test]
fn the_example_of_the_design_is_accepted_but_for_its_actions() {
    let text = "\
apiVersion: lifeboat.dev/v1alpha1
kind: Playbook
metadata:
  name: contain-pod
spec:
  description: Cut a compromised pod off.
  inputs:
    namespace: {type: string, required: true}
    pod: {type: string, required: true}
    revoke: {type: boolean, default: true}
  triggers:
    - name: shell
      source: falco
      when: event.rule == \"Terminal shell in container\" && event.severity >= severity.warning
      inputs: {namespace: \"${{ event.target.namespace }}\", pod: \"${{ event.target.pod }}\"}
  guards: {maxTargets: 1, protectedNamespaces: [kube-system], cooldown: 10m, concurrency: \"${{ steps.find.target.uid }}\"}
  approval: {when: \"trigger.automatic && target.namespace == 'prod'\", quorum: 1, timeout: 30m, onTimeout: deny}
  steps:
    - id: find
      uses: target.resolve
      with: {kind: Pod, namespace: \"${{ inputs.namespace }}\", name: \"${{ inputs.pod }}\"}
    - id: revoke
      uses: serviceaccount.revoke
      if: inputs.revoke
      needs: [find]
      with: {target: \"${{ steps.find.target }}\", mode: pod}
  finally:
    - {id: tell, uses: notify, with: {channel: oncall, text: \"${{ run.summary }}\"}}
";
    let faults = faults(text);
    assert_eq!(faults.lines().count(), 3, "{faults}");
    assert!(faults.lines().all(|line| line.contains("unknown action '")), "{faults}");
}

#[tokio::test]
async fn triggers_match_events_as_data() {
    let triggers = "  inputs: {pod: {type: string, required: true}}\n  triggers:\n    - {name: first, source: falco, when: event.raw.nothing == 1}\n    - name: shell\n      source: falco\n      when: event.rule == 'shell' && event.severity >= severity.warning\n      inputs: {pod: \"${{ event.target.pod }}\"}\n";
    let text = book("x", triggers, "    - {id: r, uses: report}\n")
        .replace("when: event.raw.nothing == 1}", "when: event.raw.nothing == 1, inputs: {pod: x}}");
    let playbook = load("x", &text, &registry(), &BTreeMap::new()).unwrap();
    let event = |rule: &str, severity: u8, pod: &str| Event {
        source: crate::EventSource::Falco,
        id: "1".to_owned(),
        time: "2026-11-21T12:00:00Z".parse().unwrap(),
        severity,
        rule: rule.to_owned(),
        text: String::new(),
        doubts: Vec::new(),
        digest: lifeboat_model::Digest::of(b""),
        tags: Vec::new(),
        target: crate::EventTarget { pod: pod.to_owned(), ..Default::default() },
        raw: serde_json::Map::new(),
    };
    let found = playbook.triggered(&event("shell", 3, "web-1")).await.unwrap().unwrap();
    assert_eq!((found.trigger.as_str(), found.inputs["pod"].as_str()), ("shell", Some("web-1")));
    assert_eq!(playbook.triggered(&event("shell", 2, "web-1")).await, Ok(None));
    assert_eq!(playbook.triggered(&event("other", 7, "web-1")).await, Ok(None));
    // An expression in an event is text.
    let found = playbook.triggered(&event("shell", 3, "${{ 1 + 1 }}")).await.unwrap().unwrap();
    assert_eq!(found.inputs["pod"], "${{ 1 + 1 }}");
}

#[test]
fn the_examples_of_the_actions_load() {
    assert_eq!(registry().check_examples(), Ok(()));
}
