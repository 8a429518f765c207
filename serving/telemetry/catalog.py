"""Every metric of the gateway, declared once: names, help, labels, buckets. `docs/metrics.md` shows this table. Pure.

Labels come from one small set. `model` is the served model's name and `version` its registry version; what no model of
ours answers for is counted under `UNKNOWN`, so that a client cannot invent label values. `variant` is the name within
the policy, `protocol` the door (`http`, `grpc`), `output` one of the model's outputs, and `outcome` is `OK`, the
lower-case name of an `ErrorKind`, or one of the words that a help text lists; so are `direction` and `reason`.
"""

from __future__ import annotations

from typing import Final

from serving.telemetry.metric import CounterMetric, GaugeMetric, HistogramMetric, Metric

#: Outcome of whatever went well.
OK: Final = "ok"
#: Label value in place of a model or version that does not exist.
UNKNOWN: Final = "unknown"

_VERSION: Final = ("model", "version")
_VARIANT: Final = ("model", "version", "variant")

# Six steps a decade where answers are expected, so that an interpolated quantile is off by a fifth at most.
_LATENCY_BOUNDS_S: Final = (
    0.0001, 0.00015, 0.0002, 0.0003, 0.0005, 0.0007,
    0.001, 0.0015, 0.002, 0.003, 0.005, 0.007,
    0.01, 0.015, 0.02, 0.03, 0.05, 0.07,
    0.1, 0.15, 0.2, 0.3, 0.5, 0.7,
    1.0, 2.0, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
_BATCH_BOUNDS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)
_LOAD_BOUNDS_S: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)

# ── the request's way, counted by routers ────────────────────────────────────────────────────────────────────────────

REQUESTS: Final = CounterMetric(
    "shepherd_requests_total",
    "Inference requests answered, errors included; shadows excluded.",
    (*_VARIANT, "protocol", "outcome"),
)
REQUEST_DURATION: Final = HistogramMetric(
    "shepherd_request_duration_seconds",
    "From the arrival of a request's last byte to the hand-over of its answer to the socket.",
    (*_VARIANT, "protocol"),
    _LATENCY_BOUNDS_S,
)
DIRECTED: Final = CounterMetric(
    "shepherd_directed_requests_total",
    "Requests of `shepherd_requests_total` whose variant was chosen by pin, rule or fallback instead of the split.",
    (*_VARIANT, "outcome"),
)
ACCESS_REFUSALS: Final = CounterMetric(
    "shepherd_access_refusals_total",
    "Requests refused by API key. Outcome `missing`, `unknown` or `expired`: the key; `scope`: the key does not allow "
    "the request; `unready`: this router has not read the keys yet.",
    ("protocol", "outcome"),
)
REQUESTS_IN_FLIGHT: Final = GaugeMetric(
    "shepherd_requests_in_flight", "Requests sent to model replicas and not yet answered.", _VERSION
)
RETRIES: Final = CounterMetric(
    "shepherd_retries_total", "Requests sent to a second replica because the first was lost.", _VERSION
)
CONNECTIONS: Final = GaugeMetric("shepherd_connections", "Open client connections.", ("protocol",))
POLICY_REVISION: Final = GaugeMetric(
    "shepherd_policy_revision", "Revision of the policy that a router applies.", ("model",), per_process=True
)
VARIANT_WEIGHT: Final = GaugeMetric(
    "shepherd_variant_weight_ratio",
    "Share of a model's traffic that the policy gives to a variant, 0 to 1.",
    _VARIANT,
    per_process=True,
)

# ── the gRPC door, counted by its Envoy ──────────────────────────────────────────────────────────────────────────────

DOOR_CALLS: Final = CounterMetric(
    "shepherd_grpc_door_calls_total", "gRPC calls of all kinds received by Envoy; a stream counts as one."
)
DOOR_SENT: Final = CounterMetric("shepherd_grpc_door_forwarded_total", "Calls forwarded to a router, retries included.")
DOOR_LOST: Final = CounterMetric(
    "shepherd_grpc_door_lost_total",
    "Forwarded calls without an answer. Outcome `unconnected`: the router could not be reached; `reset`: it ended or"
    " refused the call; `no_router`: no router was available.",
    ("outcome",),
)
DOOR_RETRIES: Final = CounterMetric(
    "shepherd_grpc_door_retries_total", "Calls retried, on another router if there is one."
)
DOOR_IN_FLIGHT: Final = GaugeMetric("shepherd_grpc_door_in_flight", "gRPC calls that Envoy has not yet answered.")
DOOR_ROUTERS: Final = GaugeMetric("shepherd_grpc_door_routers", "Routers that answer Envoy's health checks.")
DOOR_MEMORY: Final = GaugeMetric("shepherd_grpc_door_memory_bytes", "Memory that Envoy has allocated from the system.")
DOOR_STARTS: Final = CounterMetric(
    "shepherd_grpc_door_starts_total", "Envoy processes started: more than 1 after a replacement or a crash."
)

# ── shadows ──────────────────────────────────────────────────────────────────────────────────────────────────────────

SHADOWS: Final = CounterMetric(
    "shepherd_shadow_requests_total",
    "Requests mirrored to a shadow version. Outcome `dropped`: over its budget, so it was not called.",
    (*_VERSION, "outcome"),
)
SHADOW_DURATION: Final = HistogramMetric(
    "shepherd_shadow_duration_seconds", "From the shadow call to its answer.", _VERSION, _LATENCY_BOUNDS_S
)
SHADOW_DROPS: Final = CounterMetric(
    "shepherd_shadow_dropped_total",
    "Requests not mirrored, or mirrored and not compared. Outcome `budget`: too many in flight; `breaker`: the version"
    " failed repeatedly; `comparison`: the router had no time for the comparison.",
    (*_VERSION, "outcome"),
)
SHADOW_COMPARISONS: Final = CounterMetric(
    "shepherd_shadow_comparisons_total",
    "Answers of a shadow version compared with the primary's: outcome `agree` or `disagree`.",
    (*_VERSION, "outcome"),
)
SHADOW_NOISE: Final = CounterMetric(
    "shepherd_shadow_noise_comparisons_total",
    "Two answers of the primary to the same request compared, for the shadow `version`: the noise floor of its"
    " comparisons. Outcome `agree` or `disagree`.",
    (*_VERSION, "outcome"),
)
SHADOW_NOISE_REQUESTS: Final = CounterMetric(
    "shepherd_shadow_noise_requests_total",
    "Requests sent to the primary's `version` twice, to measure the noise floor of its shadows' comparisons.",
    (*_VERSION, "outcome"),
)
SHADOW_ROWS: Final = CounterMetric(
    "shepherd_shadow_compared_rows_total",
    "Rows of an output compared with the primary's. Outcome `flip`: different label or class, or beyond the"
    " tolerance; `same`: otherwise.",
    (*_VERSION, "output", "outcome"),
)

# ── model replicas ───────────────────────────────────────────────────────────────────────────────────────────────────

QUEUED: Final = GaugeMetric("shepherd_queued_requests", "Requests waiting in model replicas for a batch.", _VERSION)
QUEUE_DURATION: Final = HistogramMetric(
    "shepherd_queue_duration_seconds",
    "From a request's arrival at its replica to the start of its batch.",
    _VERSION,
    _LATENCY_BOUNDS_S,
)
BATCH_ROWS: Final = HistogramMetric(
    "shepherd_batch_rows", "Rows in one execution of the model.", _VERSION, _BATCH_BOUNDS
)
INFERENCE_DURATION: Final = HistogramMetric(
    "shepherd_inference_duration_seconds",
    "Duration of one execution of the model (a whole batch).",
    _VERSION,
    _LATENCY_BOUNDS_S,
)
NONFINITE: Final = CounterMetric(
    "shepherd_nonfinite_outputs_total", "Rows with NaN or infinity in a float output.", _VERSION
)
LOAD_DURATION: Final = HistogramMetric(
    "shepherd_model_load_duration_seconds",
    "From the start of a replica's process to its passed golden check (outcome `ok`) or its failure (`failed`).",
    (*_VERSION, "outcome"),
    _LOAD_BOUNDS_S,
)
REPLICAS: Final = GaugeMetric("shepherd_replicas", "Model replicas that are loaded, warm and golden-checked.", _VERSION)
REPLICAS_WANTED: Final = GaugeMetric("shepherd_replicas_wanted", "Target number of model replicas.", _VERSION)
SCALINGS: Final = CounterMetric(
    "shepherd_scalings_total",
    "Changes of `shepherd_replicas_wanted` by load, `up` or `down`. Reason: the signal, `in_flight`, `queue`, `busy`,"
    " `latency`, `first_request` or `bound` (the minimum).",
    (*_VERSION, "direction", "reason"),
)
TRITON_SERVERS: Final = GaugeMetric(
    "shepherd_triton_servers",
    "Triton servers of a version, as each of its replicas sees them. Outcome `ok`: passes the golden check and gets"
    " requests; `away`: the breaker is open, so it gets none.",
    (*_VERSION, "outcome"),
)

# ── shared hosts ─────────────────────────────────────────────────────────────────────────────────────────────────────

HOSTS: Final = GaugeMetric("shepherd_hosts", "Processes that several small versions share.", ())
HOST_VERSIONS: Final = GaugeMetric(
    "shepherd_host_versions",
    "Versions in shared hosts. Outcome `loaded`: in memory; `cold`: loaded by their next request.",
    ("outcome",),
)
COLD_STARTS: Final = CounterMetric(
    "shepherd_cold_starts_total",
    "Loads of a version in a shared host: outcome `ok` or `failed`.",
    (*_VERSION, "outcome"),
)
EVICTIONS: Final = CounterMetric(
    "shepherd_evictions_total",
    "Versions unloaded from shared hosts. Outcome `idle`: no requests; `bound`: to make room for others.",
    ("outcome",),
)
HOLD_DURATION: Final = HistogramMetric(
    "shepherd_hold_duration_seconds", "How long a request waited for its cold version.", _VERSION, _LATENCY_BOUNDS_S
)

# ── request log ──────────────────────────────────────────────────────────────────────────────────────────────────────

LOG_REQUESTS: Final = CounterMetric(
    "shepherd_log_requests_total",
    "Requests seen by the log; each has exactly one outcome in `shepherd_log_records_total`.",
    ("model",),
)
LOG_RECORDS: Final = CounterMetric(
    "shepherd_log_records_total",
    "Outcome of those requests: `logged`, `sampled_out`, or `dropped_` and the reason.",
    ("model", "outcome"),
)
LOG_SHIPPED: Final = CounterMetric(
    "shepherd_log_shipped_records_total", "Records acknowledged by the stream; a record may count more than once."
)
LOG_SPOOL: Final = GaugeMetric("shepherd_log_spool_bytes", "Spooled records on disk that are not yet shipped.")

SINK_ROWS: Final = CounterMetric(
    "shepherd_log_sink_rows_total", "Rows of records and labels that the sink has written."
)
SINK_LAG: Final = GaugeMetric(
    "shepherd_log_sink_lag_seconds", "Age of the sink's last commit while data is waiting; 0 otherwise."
)
SINK_GAPS: Final = CounterMetric(
    "shepherd_log_sink_gaps_total", "Times that records were deleted from Redis before the sink had read them."
)
SINK_LEFT_OUT: Final = CounterMetric(
    "shepherd_log_sink_left_out_total",
    "Records and labels that the sink could not read or write; its log names them.",
)

# ── monitor ──────────────────────────────────────────────────────────────────────────────────────────────────────────

MONITORED: Final = GaugeMetric("shepherd_monitored_answers", "Answers that the monitor has counted.", _VARIANT)
LABELLED: Final = GaugeMetric("shepherd_labelled_answers", "Counted answers whose label has arrived.", _VARIANT)
LABEL_SAMPLE: Final = GaugeMetric(
    "shepherd_label_sample_ratio",
    "Share of answers kept to wait for a label, sampled by request id; below 1 if there are too many to keep.",
    ("model",),
)
DRIFT_EVIDENCE: Final = GaugeMetric(
    "shepherd_drift_evidence_ratio",
    "Evidence of drift of the column with the most, relative to the alarm threshold.",
    _VARIANT,
)
DRIFTING_COLUMNS: Final = GaugeMetric("shepherd_drifting_columns", "Columns with a drift alarm.", _VARIANT)
PERFORMANCE_DROP: Final = GaugeMetric(
    "shepherd_performance_drop_ratio",
    "Drop of the watched label metric relative to its baseline; 0.05 is 5 % worse.",
    _VARIANT,
)
INCIDENT_SEVERITY: Final = GaugeMetric(
    "shepherd_incident_severity",
    "Severity of the open incident: 1 warning, 2 critical, 3 emergency; 0: none.",
    _VERSION,
)

# ── the metrics themselves ───────────────────────────────────────────────────────────────────────────────────────────

LABEL_OVERFLOWS: Final = CounterMetric(
    "shepherd_metrics_label_overflows_total",
    "Uses of a label set beyond the limit of its metric; they were counted under `other`.",
)
PUBLISH_FAILURES: Final = CounterMetric(
    "shepherd_metrics_publish_failures_total",
    "Metric snapshots that could not be written; the next one has their counts.",
)
UNREADABLE_FILES: Final = GaugeMetric(
    "shepherd_metrics_unreadable_files", "Metrics files of this node that the last scrape could not read."
)

CATALOG: Final[tuple[Metric, ...]] = tuple(
    each for each in tuple(globals().values()) if isinstance(each, CounterMetric | GaugeMetric | HistogramMetric)
)
"""All of them, in the order of this module, which is that of the scrape and of the documentation."""
