//! The two ends that try to reach each other, and what they tell in their logs.

use serde_json::{Value, json};

/// The label of the pod at the other end; its value is the UID of the pod that is isolated.
pub(super) const LABEL: &str = "lifeboat.dev/probe";
/// The container of that pod.
pub(super) const CONTAINER: &str = "probe";
/// After this time the pod at the other end stops by itself, should nobody be there to delete it.
const LIFETIME_SECONDS: u32 = 900;
/// Each end answers here.
const PORT: &str = "61951";
/// Here the pod at the other end takes the one connection that stays open.
const OPEN_PORT: &str = "61952";

/// Both ends: answer with a word, and try once a second to get it from oneself and from the other. Run by `sh -c` with
/// the other's address and the ports as arguments. It ends by itself.
const BOTH: &str = r#"
other=$1 port=$2 open=$3
# A listener takes one at a time, and may just be busy with somebody else.
ask() {
  for i in 1 2 3 4; do
    nc -w 1 "$1" "$port" </dev/null 2>/dev/null | grep lifeboat && return
    sleep 0.3
  done
}
while :; do echo lifeboat | nc -l -p "$port"; done >/dev/null 2>&1 &
"#;
const TRIES: &str = r#"
n=0
while [ "$n" -lt 240 ]; do
  n=$((n + 1))
  own=$(ask 127.0.0.1)
  far=$(ask "$other")
  echo "try $n own=$own far=$far"
  sleep 1
done
"#;
/// The isolated pod opens the connection that stays, and sends a number each second.
const OPENS: &str = r#"
ticks() { t=0; while :; do t=$((t + 1)); echo "$t" || exit; sleep 1; done; }
while :; do ticks | nc "$other" "$open"; sleep 1; done >/dev/null 2>&1 &
"#;
/// The other end takes it, once, and tells each number.
const TAKES: &str = r#"
tail -f /dev/null | nc -l -p "$open" 2>/dev/null | while read -r t; do echo "open $t"; done &
"#;

fn command(role: &str, other: &str) -> Value {
    json!(["sh", "-c", format!("{BOTH}{role}{TRIES}"), "lifeboat", other, PORT, OPEN_PORT])
}

/// No rights at all: what the level `restricted` of `PodSecurity` takes.
fn harmless() -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": true,
        "runAsUser": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    })
}

/// The container in the isolated pod. It shares the pod's network, and no process.
pub(super) fn listener(name: &str, image: &str, other: &str) -> Value {
    json!({
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": command(OPENS, other),
        "securityContext": harmless(),
    })
}

/// The pod at the other end.
pub(super) fn peer(namespace: &str, name: &str, pod_uid: &str, image: &str, other: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {LABEL: pod_uid, "app.kubernetes.io/managed-by": "lifeboat"},
        },
        "spec": {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": LIFETIME_SECONDS,
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "containers": [{
                "name": CONTAINER,
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "command": command(TAKES, other),
                "securityContext": harmless(),
            }],
        },
    })
}

/// One try: whether the end's own listener answered, and the other's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Try {
    pub(super) number: u64,
    pub(super) own: bool,
    pub(super) far: bool,
}

/// What one end has told so far.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) tries: Vec<Try>,
    /// How much came over the connection that stays open.
    pub(super) open: usize,
}

/// Reads a log, each line of which begins with its time.
pub(super) fn told(log: &[u8]) -> Told {
    let mut told = Told::default();
    for line in log.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok()) {
        let mut words = line.split(' ').skip(1);
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("try"), Some(number), Some(own), Some(far)) => {
                let Ok(number) = number.parse() else { continue };
                told.tries.push(Try { number, own: own == "own=lifeboat", far: far == "far=lifeboat" });
            }
            (Some("open"), Some(_), None, None) => told.open += 1,
            _ => {}
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_log_is_understood() {
        let log = b"2026-11-21T12:00:00Z try 1 own=lifeboat far=\n2026-11-21T12:00:01Z open 1\nodd\n\
                    2026-11-21T12:00:02Z try 2 own=lifeboat far=lifeboat\n2026-11-21T12:00:02Z try x own= far=\n\
                    2026-11-21T12:00:03Z try 3 own=";
        let told = told(log);
        assert_eq!(told.open, 1);
        assert_eq!(told.tries, [Try { number: 1, own: true, far: false }, Try { number: 2, own: true, far: true },]);
    }

    #[test]
    fn addresses_are_arguments() {
        let container = listener("x", "busybox", "10.0.0.1");
        assert_eq!(container["command"][4], "10.0.0.1");
        assert!(!container["command"][2].as_str().unwrap().contains("10.0.0.1"));
    }

    proptest! {
        #[test]
        fn a_log_may_be_anything(log in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(told(&log).tries.len() <= 300);
        }
    }
}
