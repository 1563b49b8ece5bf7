//! What an ephemeral container looks at, and how it tells.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::target::Target;

/// Run by `sh -c`, with the most bytes of each item and then the paths as its arguments: nothing of a playbook is part
/// of its text. Each item is `@NAME`, base64, and `=` with the status of what wrote it, so that nothing which is read
/// can look like the end of an item. Process 1 is that of the container that is looked at.
const SCRIPT: &str = r#"
limit=$1
shift
exec 4>&1
item() {
  echo "@$1"
  shift
  status=$({ { "$@" 2>/dev/null; echo $? >&3; } | head -c "$limit" | base64 >&4; } 3>&1)
  echo "=$status"
}
processes() {
  unread=0
  for p in /proc/[0-9]*; do
    [ "$p" = "/proc/$$" ] && continue
    echo "process ${p#/proc/}"
    echo "command: $(tr '\0' ' ' <"$p/cmdline")"
    echo "folder: $(readlink "$p/cwd")"
    program=$(readlink "$p/exe")
    echo "program: $program"
    [ -z "$program" ] && grep -q '^State:.[RSDT]' "$p/status" && unread=6
    cat "$p/status"
    ls -l "$p/fd"
    cat "$p/maps"
  done
  return $unread
}
sockets() {
  for f in tcp tcp6 udp udp6 raw raw6 unix; do
    echo "$f"
    [ ! -e "/proc/1/net/$f" ] || cat "/proc/1/net/$f" || return 1
  done
}
path() {
  p=$1
  while [ -n "$p" ]; do
    [ -L "/proc/1/root$p" ] && return 4
    p=${p%/*}
  done
  if [ -d "/proc/1/root$1" ]; then ls -la "/proc/1/root$1"
  elif [ -f "/proc/1/root$1" ]; then cat "/proc/1/root$1"
  else return 5
  fi
}
item processes processes
item sockets sockets
item mounts cat /proc/1/mounts
n=0
for f; do
  item "path $n" path "$f"
  n=$((n + 1))
done
echo "@done"
"#;

/// What is asked of the container: where it looks, and how.
#[derive(Debug)]
pub(super) struct Look<'a> {
    pub(super) image: &'a str,
    /// The container whose processes are seen.
    pub(super) beside: &'a str,
    pub(super) paths: &'a [String],
    pub(super) ptrace: bool,
    /// The most of each item, in bytes.
    pub(super) limit: u32,
}

/// One thing that was looked at.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// The name of the file to keep it in.
    pub(super) file: String,
    pub(super) what: String,
    pub(super) bytes: Vec<u8>,
    /// What is missing of it.
    pub(super) gap: Option<String>,
}

impl Look<'_> {
    /// The container.
    pub(super) fn container(&self, name: &str) -> Value {
        let limit = self.limit.to_string();
        let fixed = ["sh", "-c", SCRIPT, "lifeboat", &limit];
        let command: Vec<&str> = fixed.into_iter().chain(self.paths.iter().map(String::as_str)).collect();
        let capabilities = if self.ptrace { json!({"add": ["SYS_PTRACE"]}) } else { json!({}) };
        json!({
            "name": name,
            "image": self.image,
            "imagePullPolicy": "IfNotPresent",
            "targetContainerName": self.beside,
            "command": command,
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": capabilities},
        })
    }

    /// What is looked at: the name in the log, that of a file, and what it is.
    fn wanted(&self, target: &Target) -> Vec<(String, String, String)> {
        let beside = self.beside;
        let fixed = [
            ("processes", format!("processes of container {beside} of {target}")),
            ("sockets", format!("sockets of {target}")),
            ("mounts", format!("mounts of container {beside} of {target}")),
        ];
        let fixed = fixed.map(|(name, what)| (name.to_owned(), format!("{name}.txt"), what));
        let paths = self.paths.iter().enumerate().map(|(number, path)| {
            (format!("path {number}"), format!("path-{number}{path}"), format!("{path} of container {beside}"))
        });
        fixed.into_iter().chain(paths).collect()
    }

    /// What the container's log tells, each line of it after its time.
    pub(super) fn seen(&self, target: &Target, log: &[u8]) -> Vec<Seen> {
        let items = items(log);
        let seen = self.wanted(target).into_iter().map(|(name, file, what)| {
            let mut told = items.iter().filter(|item| item.name == name);
            let (bytes, gap) = match (told.next(), told.next()) {
                (Some(item), None) => item.read(self.limit),
                (Some(_), Some(_)) => (Vec::new(), Some("told twice, so that neither is believed".to_owned())),
                (None, _) => (Vec::new(), Some("not told".to_owned())),
            };
            let gap = gap.map(|gap| format!("{what}: {gap}"));
            Seen { file, what, bytes, gap }
        });
        seen.collect()
    }
}

/// An item as the log has it.
#[derive(Debug, Default)]
struct Told<'a> {
    name: &'a str,
    base64: String,
    /// Absent where the log ends before.
    status: Option<&'a str>,
}

fn items(log: &[u8]) -> Vec<Told<'_>> {
    let lines = log.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
    let mut items: Vec<Told<'_>> = Vec::new();
    for line in lines {
        let text = line.split_once(' ').map_or("", |(_, text)| text);
        match (text.strip_prefix('@'), text.strip_prefix('='), items.last_mut()) {
            (Some(name), ..) => items.push(Told { name, ..Told::default() }),
            (None, Some(status), Some(item)) if item.status.is_none() => item.status = Some(status),
            (None, None, Some(item)) => item.base64.push_str(text),
            _ => {}
        }
    }
    items
}

impl Told<'_> {
    fn read(&self, limit: u32) -> (Vec<u8>, Option<String>) {
        let Ok(bytes) = STANDARD.decode(&self.base64) else {
            return (Vec::new(), Some("what the log has of it is no base64".to_owned()));
        };
        let gap = match self.status {
            _ if bytes.len() >= usize::try_from(limit).unwrap_or(usize::MAX) => {
                Some(format!("only its first {} bytes", bytes.len()))
            }
            Some("0") => None,
            Some("4") => Some("a symbolic link is part of the path, and would lead out of the container".to_owned()),
            Some("5") => Some("there is no such file or folder, or it may not be read".to_owned()),
            Some("6") => Some("the programs of some processes may not be read (ptrace allows it)".to_owned()),
            Some(_) => Some("it could not be read to its end".to_owned()),
            None => Some("the log ends before it does".to_owned()),
        };
        (bytes, gap)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn target() -> Target {
        Target::of(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "shop", "name": "web-1"}}))
    }

    const LOOK: Look<'static> = Look { image: "busybox", beside: "web", paths: &[], ptrace: false, limit: 64 };

    fn log(lines: &[&str]) -> Vec<u8> {
        lines.iter().flat_map(|line| format!("2026-11-21T12:00:00.000000000Z {line}\n").into_bytes()).collect()
    }

    #[test]
    fn gaps_are_told() {
        let paths = ["/etc/passwd", "/a", "/b", "/c"].map(str::to_owned);
        let look = Look { paths: &paths, ..LOOK };
        let long = STANDARD.encode([7; 64]);
        let log = log(&[
            "@processes",
            "cHJv",
            "Y2Vzcw==",
            "=0",
            "@sockets",
            &long,
            "=141",
            "@mounts",
            "=0",
            "@path 0",
            "****",
            "=0",
            "@path 1",
            "=4",
            "@path 2",
            "cHJv",
        ]);
        let seen = look.seen(&target(), &log);
        let gaps: Vec<(&str, Option<&str>)> =
            seen.iter().map(|seen| (seen.file.as_str(), seen.gap.as_deref())).collect();
        assert_eq!(seen[0].bytes, b"process");
        assert_eq!(
            gaps,
            [
                ("processes.txt", None),
                ("sockets.txt", Some("sockets of Pod shop/web-1: only its first 64 bytes")),
                ("mounts.txt", None),
                ("path-0/etc/passwd", Some("/etc/passwd of container web: what the log has of it is no base64")),
                (
                    "path-1/a",
                    Some(
                        "/a of container web: a symbolic link is part of the path, and would lead out of the container"
                    )
                ),
                ("path-2/b", Some("/b of container web: the log ends before it does")),
                ("path-3/c", Some("/c of container web: not told")),
            ]
        );
    }

    #[test]
    fn what_is_told_twice_is_not_believed() {
        let log = log(&["@mounts", "cHJv", "=0", "@mounts", "", "=0"]);
        let seen = LOOK.seen(&target(), &log);
        assert_eq!(seen[2].bytes, b"");
        assert!(seen[2].gap.as_ref().unwrap().contains("told twice"));
    }

    #[test]
    fn paths_are_arguments_and_never_text_of_the_script() {
        let paths = ["/$(reboot)".to_owned()];
        let container = Look { paths: &paths, ..LOOK }.container("lifeboat-live-1");
        assert_eq!(container["command"][2], SCRIPT);
        assert_eq!(container["command"][5], "/$(reboot)");
    }

    proptest! {
        /// A log may be anything.
        #[test]
        fn a_log_never_panics(log in proptest::collection::vec(any::<u8>(), 0..400), text in "([@=a-z0 \n]{0,8}){0,20}") {
            prop_assert_eq!(LOOK.seen(&target(), &log).len(), 3);
            prop_assert_eq!(LOOK.seen(&target(), text.as_bytes()).len(), 3);
        }
    }
}
