//! Running a program in a container.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::Api;
use kube::api::AttachParams;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::timeout;

use crate::refusal::{Refused, Subject, printable};
use crate::{Cluster, Error, ObjectPath};

/// What to run.
#[derive(Debug, Clone, Copy)]
pub struct ExecOptions<'a> {
    /// The container.
    pub container: &'a str,
    /// The program and its arguments. No shell reads them.
    pub command: &'a [String],
    /// The most that is read of each of its two outputs, in bytes.
    pub limit: usize,
    /// How long it may take.
    pub within: Duration,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecEnd {
    /// With this exit code.
    Exited(i32),
    /// It was not waited for any longer. It may still run.
    OutOfTime,
    /// It wrote more than is read. It may still run.
    OutOfRoom,
    /// The connection ended before it was told.
    Unknown,
}

/// What a program wrote, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executed {
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
    /// How it ended.
    pub end: ExecEnd,
}

impl Cluster {
    /// Runs a program in a container, once, by a websocket through the API server, and reads what it writes.
    ///
    /// The identity has to be allowed to `get` and to `create` `pods/exec`: a websocket is opened by a GET, and from
    /// v1.35 on the API server asks for the second right as well.
    /// Source: <https://github.com/kubernetes/kubernetes/issues/133515>
    pub async fn exec(&self, pod: ObjectPath<'_>, options: ExecOptions<'_>) -> Result<Executed, Error> {
        // Refuses names that lead elsewhere.
        pod.item()?;
        let api = Api::<Pod>::namespaced(self.client.clone(), pod.namespace.unwrap_or_default());
        let params = AttachParams::default().container(options.container).stdout(true).stderr(true);
        let subject = Subject { path: pod, verb: "exec in", bytes: 0 };
        let opened = timeout(self.stall_timeout, api.exec(pod.name, options.command, &params)).await;
        let mut process = match opened.map_err(|_| self.stalled())? {
            Ok(process) => process,
            Err(kube::Error::Api(status)) => {
                let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                let body = serde_json::to_vec(&status).unwrap_or_default();
                return Err(Refused::new(code, &HeaderMap::new(), &body).of_object(subject));
            }
            Err(error) => return Err(self.lost(error)),
        };
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let (out, err, status) = (process.stdout(), process.stderr(), process.take_status());
        let work = async {
            let read = tokio::try_join!(read(out, &mut stdout, options.limit), read(err, &mut stderr, options.limit));
            match (read, status) {
                (Err(OutOfRoom), _) => Ok(ExecEnd::OutOfRoom),
                (Ok(_), Some(status)) => status.await.map_or(Ok(ExecEnd::Unknown), |status| ended(pod, &status)),
                (Ok(_), None) => Ok(ExecEnd::Unknown),
            }
        };
        let end = timeout(options.within, work).await.unwrap_or(Ok(ExecEnd::OutOfTime))?;
        Ok(Executed { stdout, stderr, end })
    }
}

/// There was more than is read.
struct OutOfRoom;

/// Reads a stream to its end, as far as there is room.
async fn read(stream: Option<impl AsyncRead + Unpin>, into: &mut Vec<u8>, limit: usize) -> Result<(), OutOfRoom> {
    let Some(stream) = stream else { return Ok(()) };
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    // A stream that breaks off has ended; whether all is there is told by the status.
    let _ = stream.take(most).read_to_end(into).await;
    if into.len() > limit {
        into.truncate(limit);
        return Err(OutOfRoom);
    }
    Ok(())
}

/// What the last message of the kubelet says. One that the program could not be started by is an error.
/// Source: `k8s.io/kubelet/pkg/cri/streaming/remotecommand`, protocol `v4.channel.k8s.io`
fn ended(pod: ObjectPath<'_>, status: &Status) -> Result<ExecEnd, Error> {
    if status.status.as_deref() == Some("Success") {
        return Ok(ExecEnd::Exited(0));
    }
    let causes = status.details.iter().flat_map(|details| details.causes.iter().flatten());
    let mut codes = causes.filter(|cause| cause.reason.as_deref() == Some("ExitCode"));
    if let Some(code) = codes.find_map(|cause| cause.message.as_deref()?.parse().ok()) {
        return Ok(ExecEnd::Exited(code));
    }
    Err(Error::Server {
        resource: pod.to_string(),
        status: status.code.and_then(|code| u16::try_from(code).ok()).unwrap_or(500),
        reason: printable(status.reason.as_deref().unwrap_or_default()),
        message: printable(status.message.as_deref().unwrap_or_default()),
    })
}

#[cfg(test)]
mod tests {
    use lifeboat_model::ResourceType;
    use serde_json::json;

    use super::*;

    fn told(status: &serde_json::Value) -> Result<ExecEnd, String> {
        let pods = ResourceType {
            group: String::new(),
            version: "v1".to_owned(),
            resource: "pods".to_owned(),
            kind: "Pod".to_owned(),
            singular: String::new(),
            short_names: Vec::new(),
            namespaced: true,
        };
        let path = ObjectPath { resource: &pods, namespace: Some("shop"), name: "web-1" };
        ended(path, &serde_json::from_value(status.clone()).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_end_of_a_program_is_told() {
        assert_eq!(told(&json!({"status": "Success"})), Ok(ExecEnd::Exited(0)));
        let failed = json!({"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": [
            {"reason": "Other", "message": "5"}, {"reason": "ExitCode", "message": "127"},
        ]}});
        assert_eq!(told(&failed), Ok(ExecEnd::Exited(127)));
        let absent =
            json!({"status": "Failure", "code": 500, "reason": "InternalError", "message": "no \u{1b}[2Jsuch file"});
        assert!(told(&absent).unwrap_err().contains("no  [2Jsuch file"));
        assert!(told(&json!({})).is_err());
    }

    #[tokio::test]
    async fn no_more_is_read_than_there_is_room() {
        let mut bytes = Vec::new();
        assert!(read(Some(&b"12345"[..]), &mut bytes, 5).await.is_ok());
        let mut more = Vec::new();
        assert!(read(Some(&b"123456"[..]), &mut more, 5).await.is_err());
        assert_eq!((bytes.as_slice(), more.as_slice()), (&b"12345"[..], &b"12345"[..]));
    }
}
