//! Requests to real servers.
#![cfg(test)]

use std::convert::Infallible;
use std::error::Error as _;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use lifeboat_http::{Addresses, Bounds, Client, Error, headers, secret, token, url};
use tempfile::TempDir;
use tokio::net::TcpListener;

const BOUNDS: Bounds = Bounds { time: Duration::from_mins(1), body: 10 };

/// A server that answers by the path.
async fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let service = service_fn(answer);
                let connection =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                let _ = connection.await;
            });
        }
    });
    address
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::new(Bytes::from_static(b"0123456789 and more")));
    match request.uri().path() {
        "/short" => *response.body_mut() = Full::new(Bytes::from_static(b"0123456789")),
        "/elsewhere" => {
            *response.status_mut() = StatusCode::FOUND;
            response.headers_mut().insert("location", "/short".parse().unwrap());
        }
        "/never" => std::future::pending().await,
        _ => {}
    }
    Ok(response)
}

fn get(uri: String) -> Request<Bytes> {
    Request::get(uri).body(Bytes::new()).unwrap()
}

#[tokio::test]
async fn answers_are_bounded_and_redirects_are_answers() {
    let address = server().await;
    let client = Client::new(None, Addresses::Routed).unwrap();
    let answer = client.send(get(format!("http://{address}/long")), BOUNDS).await.unwrap();
    assert_eq!((answer.status, answer.body.as_ref(), answer.is_cut), (StatusCode::OK, b"0123456789".as_slice(), true));
    let answer = client.send(get(format!("http://{address}/short")), BOUNDS).await.unwrap();
    assert_eq!((answer.body.as_ref(), answer.is_cut), (b"0123456789".as_slice(), false));
    let answer = client.send(get(format!("http://{address}/elsewhere")), BOUNDS).await.unwrap();
    assert_eq!((answer.status, answer.headers["location"].as_bytes()), (StatusCode::FOUND, b"/short".as_slice()));
    let short = Bounds { time: Duration::from_millis(50), ..BOUNDS };
    let error = client.send(get(format!("http://{address}/never")), short).await.unwrap_err();
    assert!(matches!(error, Error::Timeout(_)) && error.is_transient(), "{error:?}");
}

#[tokio::test]
async fn a_name_of_this_machine_is_called_only_where_any_address_may_be() {
    let address = server().await;
    let request = || get(format!("http://localhost:{}/short", address.port()));
    let any = Client::new(None, Addresses::Any).unwrap();
    assert_eq!(any.send(request(), BOUNDS).await.unwrap().status, StatusCode::OK);
    let error = Client::new(None, Addresses::Routed).unwrap().send(request(), BOUNDS).await.unwrap_err();
    let mut chain = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        chain.push(error.to_string());
        cause = error.source();
    }
    assert!(chain.iter().any(|text| text.contains("no address that may be called")), "{chain:?}");
}

#[test]
fn secrets_come_from_files_and_are_in_no_error() {
    let dir = TempDir::new().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    assert_eq!(secret(&file("a", " x\n")).unwrap(), "x");
    assert_eq!(url(&file("b", "https://x.example/a/?q=1\n"), "/start").unwrap(), "https://x.example/a/start?q=1");
    let value = token(&file("c", "t0k3n\n")).unwrap();
    assert!(value.is_sensitive() && value == "Bearer t0k3n");
    let map = headers(&file("d", "Authorization: Bearer t0k3n\n\nX-Team:  night: shift \n")).unwrap();
    assert_eq!(map["x-team"], "night: shift");
    assert!(map.values().all(http::HeaderValue::is_sensitive));
    let long = "s3cr3t".repeat(2000);
    for error in [
        url(&file("e", "ftp://s3cr3t.example"), "").unwrap_err(),
        url(&file("f", "s3cr3t"), "").unwrap_err(),
        token(&file("g", "")).unwrap_err(),
        token(&file("h", "s3cr3t\ns3cr3t")).unwrap_err(),
        headers(&file("i", "s3cr3t")).unwrap_err(),
        headers(&file("j", "a b: s3cr3t")).unwrap_err(),
        secret(&file("k", &long)).unwrap_err(),
    ] {
        assert!(matches!(error, Error::Content { .. }) && !format!("{error:?}").contains("s3cr3t"), "{error:?}");
    }
    assert!(matches!(secret(&dir.path().join("missing")), Err(Error::File { .. })));
}
