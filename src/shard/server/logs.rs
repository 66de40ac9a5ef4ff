//! SLOWLOG and LATENCY: each core keeps its own, and a question joins them.

use std::rc::Rc;

use crate::commands::Error;
use crate::commands::lookup::CommandId;
use crate::observe::latency::{self, LatencyMonitor};
use crate::observe::latency_report::{self, DoctorInput};
use crate::observe::slowlog;
use crate::observe::stats::{CommandStats, ShardStats};
use crate::resp::Out;
use crate::runtime::{clock, memory};
use crate::shard::fanout::{Call, written};

pub async fn slowlog(call: Rc<Call>, id: CommandId) -> Result<Out, Error> {
    let args = call.args();
    let (name, max_len) = call.here(|shard, _| (shard.commands.get(id).name, shard.config.slowlog_max_len as usize));
    match name {
        "reset" => {
            call.on_all(|shard, _| shard.slow_log.reset()).await;
            call.ok()
        }
        _ => {
            if args.len() > 3 {
                return Err(Error::subcommand_syntax(&args));
            }
            let count = if name == "get" { slowlog::parse_get(args.opt(2))? } else { 0 };
            let logs = call.on_all(|shard, _| shard.slow_log.entries()).await;
            let merged = slowlog::merge(logs, max_len);
            written(call.proto, |out| {
                match name {
                    "get" => slowlog::write_get(out, &merged, count),
                    _ => slowlog::write_len(out, &merged),
                }
                Ok(())
            })
        }
    }
}

pub async fn latency(call: Rc<Call>, id: CommandId) -> Result<Out, Error> {
    let args = call.args();
    let name = call.here(|shard, _| shard.commands.get(id).name);
    match name {
        "histogram" => return histogram(&call).await,
        "reset" => {
            let names: Vec<Vec<u8>> = args.iter_from(2).map(<[u8]>::to_vec).collect();
            let forgotten = call.on_all(move |shard, _| shard.latency.reset(names.iter().map(Vec::as_slice))).await;
            return written(call.proto, |out| {
                out.int(latency::reset_count(forgotten));
                Ok(())
            });
        }
        _ => {}
    }
    let monitors = call.on_all(|shard, _| shard.latency.clone()).await;
    let mut merged = LatencyMonitor::new(call.here(|shard, _| shard.config.latency_monitor_threshold));
    for monitor in &monitors {
        merged.merge(monitor);
    }
    written(call.proto, |out| {
        match name {
            "history" => latency::write_history(out, &merged, args.get(2)),
            "latest" => latency::write_latest(out, &merged),
            "graph" => latency::write_graph(out, &merged, args.get(2), clock::unix_ms() / 1000)?,
            _ => out.verbatim(&latency_report::doctor(&merged, doctor_input(&call))),
        }
        Ok(())
    })
}

async fn histogram(call: &Call) -> Result<Out, Error> {
    let args = call.args();
    let stats = call.on_all(|shard, _| shard.stats.clone()).await;
    let (names, mut merged) = call.here(|shard, _| (shard.command_names(), ShardStats::new(shard.commands.count())));
    for one in &stats {
        merged.merge(one);
    }
    let wanted: Vec<&[u8]> = args.iter_from(2).collect();
    let commands: &[CommandStats] = merged.commands();
    written(call.proto, |out| {
        latency::write_histogram(out, &names, commands, &wanted);
        Ok(())
    })
}

fn doctor_input(call: &Call) -> DoctorInput {
    call.here(|shard, _| DoctorInput {
        unix_time_seconds: shard.now() / 1000,
        slowlog_slower_than_us: shard.config.slowlog_log_slower_than,
        hz: shard.config.hz.into(),
        anon_huge_pages: memory::huge_page_bytes(),
    })
}
