//! The stock tools open what is made here, and what they make opens here.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use lifeboat_archive::{
    FrameSize, Identities, PublicKey, Recipients, RecoveryKey, SealOptions, SealedReader, SealedWriter, SignatureError,
    SigningKey, TarReader, TarWriter, TrustedKeys,
};

use crate::support::{KEY, promise, sample, seal};

/// Whether the tools are installed. Says so where they are not: the promise stays unproved there.
fn have(tools: &[&str]) -> bool {
    for tool in tools {
        if Command::new(tool).arg("--version").stdin(Stdio::null()).output().is_err() {
            eprintln!("NOT TESTED: '{tool}' is not installed");
            return false;
        }
    }
    true
}

fn run(dir: &Path, script: &str) -> Output {
    let output = Command::new("bash").args(["-euo", "pipefail", "-c", script]).current_dir(dir).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}\n{stderr}");
    output
}

#[test]
fn age_zstd_and_tar_open_a_part() {
    if !have(&["age", "zstd", "tar"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let long = format!("resources/core/v1/configmaps/{}/{}.json", "n".repeat(63), "x".repeat(240));
    let mut files = vec![("resources/core/v1/nodes/_cluster/a.json".to_owned(), sample(1 << 20)), (long, sample(3000))];
    // About the length where a name no longer fits its header.
    files.extend((98..103).map(|length| ("é".repeat(20) + &"x".repeat(length - 40), sample(length))));
    let options = SealOptions { frame_size: FrameSize::new(100_000), record_frames: true, ..SealOptions::default() };
    let mut tar = TarWriter::new(SealedWriter::new(Vec::new(), &KEY.recipients, options).unwrap());
    for (path, data) in &files {
        tar.append(path, data, 1_700_000_000).unwrap();
        tar.sink_mut().cut_frame().unwrap();
    }
    let finished = tar.finish().unwrap().finish().unwrap();
    assert!(finished.frames.len() > 10);
    fs::write(dir.path().join("resources.tar.zst.age"), &finished.sink).unwrap();
    fs::write(dir.path().join("recovery.key"), KEY.file.identity_file()).unwrap();

    run(dir.path(), "age -d -i recovery.key resources.tar.zst.age > resources.tar.zst && zstd -q -t resources.tar.zst");
    run(
        dir.path(),
        "age -d -i recovery.key resources.tar.zst.age | zstd -q -d > resources.tar && tar -xf resources.tar",
    );
    for (path, data) in &files {
        assert_eq!(&fs::read(dir.path().join(path)).unwrap(), data, "{path}");
    }
    let listing = run(dir.path(), "tar --utc --numeric-owner -tvf resources.tar");
    let listing = String::from_utf8(listing.stdout).unwrap();
    assert!(listing.starts_with("-rw------- 0/0 "), "{listing}");
    // zstd's own count of frames, one of them skippable: the seek table.
    let shown = String::from_utf8(run(dir.path(), "zstd -q -l resources.tar.zst").stdout).unwrap();
    let counted: Vec<&str> = shown.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(counted[..2], [&(finished.frames.len() + 1).to_string(), "1"], "{shown}");
    assert!(counted.contains(&"XXH64"), "content checksums: {shown}");
}

#[test]
fn an_empty_part_opens_too() {
    if !have(&["age", "zstd"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let finished = seal(b"", SealOptions::default());
    fs::write(dir.path().join("part"), &finished.sink).unwrap();
    fs::write(dir.path().join("key"), KEY.file.identity_file()).unwrap();
    assert!(run(dir.path(), "age -d -i key part | zstd -q -d").stdout.is_empty());
}

#[test]
fn what_age_and_zstd_seal_opens_here() {
    if !have(&["age", "age-keygen", "zstd"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let plain = sample(3_000_000);
    fs::write(dir.path().join("plain"), &plain).unwrap();
    let script =
        "age-keygen -o key 2>/dev/null; zstd -q -19 -c plain | age -r $(age-keygen -y key) > part; age-keygen -y key";
    let recipient = String::from_utf8(run(dir.path(), script).stdout).unwrap();
    let identities = Identities::parse(&fs::read_to_string(dir.path().join("key")).unwrap()).unwrap();
    assert_eq!(identities.recipients(), [recipient.trim()]);
    Recipients::parse([recipient]).unwrap();
    let stored = fs::read(dir.path().join("part")).unwrap();
    let mut reader = SealedReader::new(&stored[..], &identities, &promise(&plain, &stored)).unwrap();
    let mut opened = Vec::new();
    reader.read_to_end(&mut opened).unwrap();
    reader.finish().unwrap();
    assert_eq!(opened, plain);
}

#[test]
fn age_keygen_reads_the_recovery_key() {
    if !have(&["age-keygen"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let key = RecoveryKey::generate("2026-11-21T04:45:00Z");
    fs::write(dir.path().join("key"), key.identity_file()).unwrap();
    let shown = run(dir.path(), "age-keygen -y key").stdout;
    assert_eq!(String::from_utf8(shown).unwrap().trim(), key.recipient());
    // The same layout, line by line.
    let stock = String::from_utf8(run(dir.path(), "age-keygen 2>/dev/null").stdout).unwrap();
    let shape = |text: &str| -> Vec<String> { text.lines().map(|line| line.chars().take(14).collect()).collect() };
    assert_eq!(shape(&stock)[1..2], shape(key.identity_file())[1..2]);
    assert_eq!(stock.lines().count(), key.identity_file().lines().count());
    assert!(stock.starts_with("# created: ") && key.identity_file().starts_with("# created: 2026-11-21T04:45:00Z\n"));
}

#[test]
fn what_tar_writes_reads_here() {
    if !have(&["tar"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let long = format!("d/{}", "x".repeat(200));
    fs::create_dir(dir.path().join("d")).unwrap();
    fs::write(dir.path().join("d/a"), sample(1000)).unwrap();
    fs::write(dir.path().join(&long), sample(10)).unwrap();
    for format in ["gnu", "pax", "ustar"] {
        let names = if format == "ustar" { "d/a".to_owned() } else { format!("d/a {long}") };
        let tar = run(dir.path(), &format!("tar --format={format} -cf - {names}")).stdout;
        let mut reader = TarReader::new(&tar[..], 1000);
        let mut seen = Vec::new();
        while let Some(entry) = reader.next_entry().unwrap() {
            seen.push(entry.path().to_owned());
            let expected = fs::read(dir.path().join(entry.path())).unwrap();
            assert_eq!(entry.into_bytes().unwrap(), expected);
        }
        assert_eq!(seen.join(" "), names, "{format}");
    }
}

#[test]
fn minisign_verifies_and_signs_alike() {
    if !have(&["minisign"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let key = SigningKey::generate().unwrap();
    let public = key.public_key().unwrap();
    let comment = "lifeboat cluster backup 1";
    fs::write(dir.path().join("manifest.json"), b"{}").unwrap();
    fs::write(dir.path().join("manifest.json.minisig"), key.sign(b"{}", comment).unwrap()).unwrap();
    fs::write(dir.path().join("signing.pub"), public.to_file_text()).unwrap();
    fs::write(dir.path().join("signing.key"), key.to_file_text().unwrap()).unwrap();

    for how in ["-p signing.pub".to_owned(), format!("-P {}", public.to_base64())] {
        let shown = run(dir.path(), &format!("minisign -V -m manifest.json {how}")).stdout;
        assert!(String::from_utf8(shown).unwrap().contains(comment));
    }

    // Our key in minisign's hands.
    run(
        dir.path(),
        &format!("minisign -S -s signing.key -m manifest.json -x theirs.minisig -t '{comment}' < /dev/null"),
    );
    let theirs = fs::read_to_string(dir.path().join("theirs.minisig")).unwrap();
    let keys = TrustedKeys::new(vec![public.clone()]);
    assert_eq!(keys.verify(b"{}", &theirs, comment), Ok(public.key_id()));

    // A genuine signature in the form of minisign before 0.9 is not taken.
    run(
        dir.path(),
        &format!("minisign -S -l -s signing.key -m manifest.json -x old.minisig -t '{comment}' < /dev/null"),
    );
    let old = keys.verify(b"{}", &fs::read_to_string(dir.path().join("old.minisig")).unwrap(), comment);
    assert!(matches!(old, Err(SignatureError::NotASignature(_))), "{old:?}");

    // minisign's own key, here.
    run(dir.path(), "minisign -G -W -p stock.pub -s stock.key");
    let stock = SigningKey::from_text(&fs::read_to_string(dir.path().join("stock.key")).unwrap(), None).unwrap();
    let stock_pub = fs::read_to_string(dir.path().join("stock.pub")).unwrap();
    assert_eq!(stock.public_key().unwrap(), PublicKey::parse(&stock_pub).unwrap());
    assert_eq!(PublicKey::parse(&stock_pub).unwrap().to_file_text(), stock_pub, "written as minisign writes it");
    fs::write(dir.path().join("again.minisig"), stock.sign(b"{}", comment).unwrap()).unwrap();
    run(dir.path(), "minisign -V -m manifest.json -x again.minisig -p stock.pub");
}

#[test]
fn minisigns_password_protected_key_opens_here() {
    if !have(&["minisign"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new("minisign")
        .args(["-G", "-p", "stock.pub", "-s", "stock.key"])
        .current_dir(dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"correct horse\ncorrect horse\n").unwrap();
    assert!(child.wait().unwrap().success());
    let text = fs::read_to_string(dir.path().join("stock.key")).unwrap();
    let key = SigningKey::from_text(&text, Some("correct horse")).unwrap();
    let stock_pub = fs::read_to_string(dir.path().join("stock.pub")).unwrap();
    assert_eq!(key.public_key().unwrap(), PublicKey::parse(&stock_pub).unwrap());
}
