//! HTTP/2 and gRPC peers that others wrote, through the gateway.

mod clients;

use tollgate::demo::SampleApi;

#[test]
fn httpx_h2_grpcio_curl_nghttp_h2load_and_node_speak_http_2_with_the_gateway() {
    let api = SampleApi::start().unwrap();
    let gateway = clients::gateway_in_front_of(api.address());
    clients::run("http2", &gateway);
    let totals = gateway.totals();
    assert_eq!(totals.panics, 0);
    assert!(totals.requests > 4_000, "{totals:?}");
}
