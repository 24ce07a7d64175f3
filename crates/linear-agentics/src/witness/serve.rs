//! The witness over HTTP: `POST /add-checkpoint`, and nothing else. Put a proxy before it where it is to
//! be reached by TLS.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use lar_core::audit::witness::{MOST_BYTES, Unwitnessable};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::{Uncosigned, Witness};

/// How many connections are served at once; others wait.
const CONNECTIONS: usize = 64;
/// How long a request may take to come in.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves a witness until the future is dropped. `told` is called with each answer: the status, and in
/// words what was asked or refused.
///
/// # Errors
/// Never while connections can be accepted; what is wrong with one of them is that one's own.
pub async fn serve(
    witness: Arc<Witness>,
    listener: TcpListener,
    told: impl Fn(u16, &str) + Send + Sync + 'static,
) -> io::Result<()> {
    let told = Arc::new(told);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
        let (stream, _) = match listener.accept().await {
            Ok(accepted) => accepted,
            // Out of descriptors, or a connection that was gone at once: it gets better by itself.
            Err(_) => {
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (witness, told) = (Arc::clone(&witness), Arc::clone(&told));
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let (witness, told) = (Arc::clone(&witness), Arc::clone(&told));
                async move {
                    let (response, why) = answer(witness, request).await;
                    told(response.status().as_u16(), &why);
                    Ok::<_, Infallible>(response)
                }
            });
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(MOST_BYTES);
            // What breaks a connection is the other side's.
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
            drop(place);
        });
    }
}

async fn answer(
    witness: Arc<Witness>,
    request: Request<Incoming>,
) -> (Response<Full<Bytes>>, String) {
    if request.uri().path().trim_end_matches('/') != "/add-checkpoint" {
        return say(StatusCode::NOT_FOUND, "there is only `add-checkpoint`");
    }
    if request.method() != Method::POST {
        return say(StatusCode::METHOD_NOT_ALLOWED, "a checkpoint is added by `POST`");
    }
    let body = timeout(PATIENCE, Limited::new(request.into_body(), MOST_BYTES).collect()).await;
    let Ok(Ok(body)) = body else {
        return say(StatusCode::BAD_REQUEST, "the body is too large, or didn't come");
    };
    let Ok(body) = String::from_utf8(body.to_bytes().to_vec()) else {
        return say(StatusCode::BAD_REQUEST, "the body is not UTF-8");
    };
    // It waits for the disk.
    let cosigned = tokio::task::spawn_blocking(move || witness.add_checkpoint(&body)).await;
    match cosigned {
        Ok(Ok(line)) => (Response::new(Full::from(line)), "cosigned".to_owned()),
        Ok(Err(Uncosigned::Refused(refusal))) => {
            let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
            let (mut response, why) = say(status, &refusal.to_string());
            if let Unwitnessable::OtherSize { size } | Unwitnessable::Forked { size } = refusal {
                let kind = HeaderValue::from_static("text/x.tlog.size");
                response.headers_mut().insert(CONTENT_TYPE, kind);
                *response.body_mut() = Full::from(format!("{size}\n"));
            }
            (response, why)
        }
        Ok(Err(Uncosigned::Failed(error))) => {
            // What is wrong here is this host's, and told to nobody else.
            let (response, _) = say(StatusCode::INTERNAL_SERVER_ERROR, "it can't be kept");
            (response, error.to_string())
        }
        Err(_) => say(StatusCode::INTERNAL_SERVER_ERROR, "it can't be judged"),
    }
}

fn say(status: StatusCode, why: &str) -> (Response<Full<Bytes>>, String) {
    let mut response = Response::new(Full::from(format!("{why}\n")));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    (response, why.to_owned())
}
