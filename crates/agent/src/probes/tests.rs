//! Probes against servers of their own.

use std::time::Duration;

use ::http::{Request, Response};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::{body::Frame, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use naru_api::k8s::api::core::v1::{Container, HTTPGetAction};
use serde_json::json;
use tokio::net::TcpListener;

use super::{Counter, Target, grpc, http};
use naru_api::k8s::apimachinery::pkg::util::intstr::IntOrString;

#[test]
fn verdicts_change_at_thresholds_only() {
    let mut counter = Counter::new(2, 3);
    let results = [true, false, true, true, true, false, false, true, false, false, false, false, true, true];
    let verdicts: Vec<_> = results.into_iter().map(|result| counter.take(result)).collect();
    let mut expected = vec![None; results.len()];
    (expected[3], expected[10], expected[13]) = (Some(true), Some(false), Some(true));
    assert_eq!(verdicts, expected);
}

#[test]
fn ports_by_number_and_name() {
    let container: Container =
        serde_json::from_value(json!({"name": "c", "ports": [{"name": "web", "containerPort": 8080}]})).unwrap();
    let target = Target { container: &container, address: None };
    assert_eq!(target.port(&IntOrString::Int(80)), Ok(80));
    assert_eq!(target.port(&IntOrString::String("web".into())), Ok(8080));
    assert!(target.port(&IntOrString::String("none".into())).unwrap_err().contains("none"));
    assert!(target.port(&IntOrString::Int(0)).is_err());
}

/// Serves connections with a handler until dropped; answers its port.
async fn serve<F>(http2: bool, handler: F) -> (u16, tokio::task::JoinHandle<()>)
where
    F: Fn(
            Request<hyper::body::Incoming>,
        ) -> Response<http_body_util::combinators::UnsyncBoxBody<Bytes, std::convert::Infallible>>
        + Clone
        + Send
        + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let handler = handler.clone();
            let service = service_fn(move |request| {
                let answer = handler(request);
                async move { Ok::<_, std::convert::Infallible>(answer) }
            });
            tokio::spawn(async move {
                let io = TokioIo::new(stream);
                if http2 {
                    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .serve_connection(io, service)
                        .await;
                } else {
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
                }
            });
        }
    });
    (port, task)
}

#[tokio::test]
async fn http_asks_with_path_and_headers() {
    let (port, server) = serve(false, |request| {
        let good =
            request.uri() == "/ready?x=1" && request.headers().get("x-probe").is_some_and(|value| value == "yes");
        let body = Full::new(Bytes::new()).boxed_unsync();
        Response::builder().status(if good { 204 } else { 500 }).body(body).unwrap()
    })
    .await;
    let container = Container::default();
    let target = Target { container: &container, address: Some("127.0.0.1".parse().unwrap()) };
    let action = |path: &str| -> HTTPGetAction {
        serde_json::from_value(
            json!({"path": path, "port": port, "httpHeaders": [{"name": "X-Probe", "value": "yes"}]}),
        )
        .unwrap()
    };
    let limit = Duration::from_secs(5);
    assert_eq!(http(&action("/ready?x=1"), &target, limit).await, Ok(204));
    assert_eq!(http(&action("other"), &target, limit).await, Ok(500));
    server.abort();
    let _ = server.await;
    assert!(http(&action("/"), &target, limit).await.unwrap_err().contains(&port.to_string()));
}

#[tokio::test]
async fn grpc_asks_the_health_service() {
    let (port, server) = serve(true, |request| {
        assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
        let frames = vec![
            Ok(Frame::data(Bytes::from_static(&[0, 0, 0, 0, 2, 8, 1]))),
            Ok(Frame::trailers([("grpc-status".parse().unwrap(), "0".parse().unwrap())].into_iter().collect())),
        ];
        Response::new(StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync())
    })
    .await;
    grpc::healthy(Some("127.0.0.1".parse().unwrap()), port, "svc").await.unwrap();
    server.abort();
    assert_eq!(&grpc::question("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
    assert_eq!([grpc::serving(&[0, 0, 0, 0, 0]), grpc::serving(&[0, 0, 0, 0, 2, 8, 2])], [Some(0), Some(2)]);
}
