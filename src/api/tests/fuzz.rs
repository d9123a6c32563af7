//! Requests that no client would make.

use super::*;
use crate::fuzz;

#[tokio::test]
async fn no_request_does_harm_however_it_is_changed() {
    let world = World::roomy();
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        fuzz::run(&fuzz::corpus("requests"), 4, |bytes| {
            let request = Request::builder().uri(bytes);
            let request = request.header("authorization", "Bearer phx_reader");
            // Bytes that are not a URL do not reach the router.
            if let Ok(request) = request.body(Body::empty()) {
                let reply = runtime.block_on(world.router.clone().oneshot(request)).unwrap();
                assert_ne!(reply.status(), StatusCode::INTERNAL_SERVER_ERROR);
            }
        });
    })
    .await
    .unwrap();
}
