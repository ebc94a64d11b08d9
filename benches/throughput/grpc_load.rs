//! Load over gRPC, by tonic's own client.

use std::sync::Arc;
use std::time::Instant;

use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::Result;
use crate::window::{Order, Senders, Times, Window};

/// So many calls share a connection.
const PER_CHANNEL: usize = 16;

pub(crate) async fn start(order: &Order, window: &Arc<Window>, calls: usize) -> Result<Senders> {
    let endpoint = Endpoint::from_shared(format!("http://{}", order.address))?;
    let mut channels = Vec::new();
    for _ in 0..calls.div_ceil(PER_CHANNEL) {
        channels.push(endpoint.connect().await?);
    }
    let bearer = |secret: &String| Ok(format!("Bearer {secret}").parse()?);
    let bearers: Result<Arc<[_]>> = order.secrets.iter().map(bearer).collect();
    let bearers = bearers?;
    let mut senders = Senders::new();
    for channel in channels.iter().cycle().take(calls) {
        let client = HealthClient::new(channel.clone());
        senders.spawn(send(client, Arc::clone(&bearers), Arc::clone(window)));
    }
    Ok(senders)
}

async fn send(
    mut client: HealthClient<Channel>,
    bearers: Arc<[MetadataValue<Ascii>]>,
    window: Arc<Window>,
) -> Result<Times> {
    let mut times = Times::new();
    while let Some(number) = window.next() {
        let mut request = Request::new(HealthCheckRequest::default());
        let bearer = bearers[number % bearers.len()].clone();
        request.metadata_mut().insert("authorization", bearer);
        let sent = Instant::now();
        // A refusal is an error here.
        client.check(request).await?;
        let took = sent.elapsed();
        if window.is_open() {
            times.push(took);
        }
    }
    Ok(times)
}
