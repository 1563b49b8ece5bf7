//! The etcd snapshot: from a fitting member, checked as it arrives, another member where one fails.

use std::io::Write;

use bytes::Bytes;
use lifeboat_archive::{SealOptions, Sealed};
use lifeboat_etcd::{
    Cluster, EndpointStatus, EtcdError, EtcdOptions, Inspector, MemberStatus, SnapshotError, SnapshotFacts,
    SnapshotStream, Trailer, choose,
};
use lifeboat_model::{EtcdRecord, Gap, Part, PartName};
use tokio::sync::mpsc;

use super::part::{self, PartWriter};
use super::{Shared, Source, absence};
use crate::blocking::run_blocking;
use crate::error::{Error, Result, chain};
use crate::progress::Track;

/// Messages of 32 KiB that may wait between etcd and sealing.
const QUEUE: usize = 32;

/// What became of etcd.
pub(super) struct Captured {
    pub(super) record: EtcdRecord,
    pub(super) part: Option<Part>,
    pub(super) gaps: Vec<Gap>,
    pub(super) keys: Option<u64>,
    pub(super) encryption: Vec<String>,
}

impl Captured {
    fn absent(reason: String, gap: bool) -> Self {
        let (reason, gap) = absence("etcd", reason, gap);
        let gaps = gap.into_iter().collect();
        Self { record: EtcdRecord::Absent { reason }, part: None, gaps, keys: None, encryption: Vec::new() }
    }
}

/// Captures a snapshot.
///
/// # Errors
/// When the store fails. That no member can give a snapshot is a gap.
pub(super) async fn capture(shared: &Shared, source: &Source<EtcdOptions>) -> Result<Captured> {
    let options = match source {
        Source::Skip(reason) => return Ok(Captured::absent(reason.clone(), false)),
        Source::Use(options) => options,
    };
    match from_any_member(shared, options).await {
        Err(Error::Etcd(error)) => Ok(Captured::absent(chain(&error), true)),
        other => other,
    }
}

async fn from_any_member(shared: &Shared, options: &EtcdOptions) -> Result<Captured> {
    let cluster = Cluster::connect(options)?;
    let members = cluster.members().await;
    let mut last = None;
    for candidate in choose(&members)? {
        let Ok(status) = &candidate.status else { continue };
        match from_member(shared, &cluster, candidate, status).await {
            Err(Error::Etcd(error)) => {
                tracing::warn!(endpoint = candidate.endpoint, error = chain(&error), "this member's snapshot failed");
                last = Some(error);
                shared.progress.etcd.reset();
            }
            other => return other,
        }
    }
    Err(Error::Etcd(last.unwrap_or(EtcdError::NoEndpoints)))
}

async fn from_member(
    shared: &Shared,
    cluster: &Cluster,
    candidate: &EndpointStatus,
    status: &MemberStatus,
) -> Result<Captured> {
    tracing::info!(endpoint = candidate.endpoint, bytes = status.db_size, "taking the etcd snapshot");
    let stream = cluster.snapshot(&candidate.endpoint).await?;
    let track = shared.progress.etcd.clone();
    let (writer, mut upload) = shared.begin(PartName::ETCD, SealOptions::default(), track.clone())?;
    let (queue, receiver) = mpsc::channel(QUEUE);
    let sealing = run_blocking("sealing the etcd snapshot", move || seal(receiver, writer));
    let work = async {
        let (pumped, sealed) = tokio::join!(pump(stream, queue, &track), sealing);
        // A stream that broke also ends the sealing: its error is the cause.
        pumped.and(sealed)
    };
    let (sealed, inspected) = part::settle(work, &mut [&mut upload]).await?;
    let part = upload.describe(&sealed).await?;
    Ok(describe(status, part, &inspected))
}

enum Message {
    Bytes(Bytes),
    End,
}

/// Moves messages from etcd to sealing; the end is passed on only when the snapshot's own checksum was right.
async fn pump(mut stream: SnapshotStream, queue: mpsc::Sender<Message>, track: &Track) -> Result<()> {
    while let Some(bytes) = stream.next().await? {
        track.set_total(stream.total());
        track.add_bytes(bytes.len());
        if queue.send(Message::Bytes(bytes)).await.is_err() {
            // Sealing has ended, and says why.
            return Ok(());
        }
    }
    stream.finish()?;
    // As above.
    let _ = queue.send(Message::End).await;
    Ok(())
}

/// Facts, or that the file is too fragmented to be checked in one pass.
type Inspected = std::result::Result<SnapshotFacts, SnapshotError>;

fn seal(mut queue: mpsc::Receiver<Message>, mut writer: PartWriter) -> Result<(Sealed, Inspected)> {
    let mut inspector = Inspector::new(Trailer::VerifiedElsewhere);
    loop {
        match queue.blocking_recv() {
            Some(Message::Bytes(bytes)) => {
                inspector.update(&bytes);
                writer.write_all(&bytes).map_err(part::write_error)?;
            }
            Some(Message::End) => break,
            None => return Err(Error::Cancelled),
        }
    }
    let inspected = match inspector.finish() {
        Err(error @ SnapshotError::TooFragmented { .. }) => Err(error),
        Err(error) => return Err(EtcdError::from(error).into()),
        Ok(facts) => Ok(facts),
    };
    Ok((part::finish(writer)?.sealed, inspected))
}

fn describe(status: &MemberStatus, part: Part, inspected: &Inspected) -> Captured {
    let facts = inspected.as_ref().ok();
    let revision = facts.map_or(status.revision, |facts| facts.revision);
    let record = EtcdRecord::Captured {
        version: status.version.clone(),
        cluster_id: format!("{:x}", status.cluster_id),
        member_id: format!("{:x}", status.member_id),
        revision: revision.unsigned_abs(),
        raft_index: status.raft_applied_index,
        alarms: status.alarms.iter().map(|alarm| alarm.kind.to_string()).collect(),
    };
    let gaps = inspected.as_ref().err().map(|error| Gap {
        resource: "etcd".to_owned(),
        reason: format!("captured, but its pages could not be checked: {}", chain(error)),
    });
    Captured {
        record,
        part: Some(part),
        gaps: gaps.into_iter().collect(),
        keys: facts.map(|facts| facts.keys),
        encryption: facts.map(|facts| facts.encryption.clone()).unwrap_or_default(),
    }
}
