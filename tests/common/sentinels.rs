//! Three of the distribution's Sentinels that look after one group of nodes.

use super::{Launch, Node, Server, wait_up_to};
use std::time::Duration;

/// Elections, and the ten seconds that Sentinel gives an old primary to find its place by itself.
pub const BOUND: Duration = Duration::from_secs(60);

pub struct Sentinels(pub Vec<Server>);

impl Sentinels {
    /// Over a primary that has its replicas already, and that counts as down when it has not answered for so long.
    #[track_caller]
    pub fn over(primary: &Node, replicas: &[&Node], down_after_ms: u32) -> Sentinels {
        let text = format!(
            "port {{port}}\ndir {{dir}}\nbind 127.0.0.1\nprotected-mode no\n\
             sentinel monitor group 127.0.0.1 {} 2\n\
             sentinel down-after-milliseconds group {down_after_ms}\n\
             sentinel failover-timeout group 6000\n\
             sentinel parallel-syncs group 2\n",
            primary.port
        );
        let all = (0..3).map(|_| Launch::sentinel().config("sentinel.conf", &text).start());
        let sentinels = Sentinels(all.collect());
        sentinels.wait_for(primary, replicas);
        wait_up_to(BOUND, "the Sentinels know each other", || {
            sentinels.0.iter().all(|sentinel| of_primary(sentinel, "num-other-sentinels") == 2)
        });
        sentinels
    }

    /// Waits until all of them see these replicas of this primary with their links up.
    #[track_caller]
    pub fn wait_for(&self, primary: &Node, replicas: &[&Node]) {
        wait_up_to(BOUND, "the Sentinels see the replicas", || {
            self.0.iter().all(|sentinel| replicas.iter().all(|node| sees_replica(sentinel, node, primary.port)))
        });
    }

    /// Waits until all of them name this node as the primary.
    #[track_caller]
    pub fn wait_to_name(&self, node: &Node) {
        wait_up_to(BOUND, "the Sentinels agree", || self.0.iter().all(|sentinel| named(sentinel) == node.port));
    }

    /// SENTINEL FAILOVER, as soon as it is possible.
    #[track_caller]
    pub fn fail_over(&self) {
        let begun = || self.0[0].conn().cmd("SENTINEL FAILOVER group").text() == "OK";
        wait_up_to(BOUND, "a failover is begun", begun);
    }
}

/// What a Sentinel calls the group's primary now.
fn named(sentinel: &Server) -> u16 {
    let address = sentinel.conn().cmd("SENTINEL GET-MASTER-ADDR-BY-NAME group").items();
    address[1].text().parse().expect("a port")
}

/// One number of what a Sentinel tells of the primary that it watches.
fn of_primary(sentinel: &Server, field: &str) -> i64 {
    let reply = sentinel.conn().cmd("SENTINEL MASTER group");
    reply.get(field).unwrap_or_else(|| panic!("SENTINEL MASTER has no {field}")).text().parse().expect("a number")
}

fn sees_replica(sentinel: &Server, node: &Node, primary: u16) -> bool {
    let replicas = sentinel.conn().cmd("SENTINEL REPLICAS group").items();
    replicas.iter().any(|replica| {
        let field = |name: &str| replica.get(name).map(|value| value.text()).unwrap_or_default();
        field("port") == node.port.to_string()
            && field("flags") == "slave"
            && field("master-link-status") == "ok"
            && field("master-port") == primary.to_string()
    })
}
