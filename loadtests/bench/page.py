"""Findings as a Markdown page. Pure."""

from __future__ import annotations

from loadtests.bench.findings import Comparison, Findings, goals, rows

_MIB = 1024 * 1024


def render_page(findings: Findings, plot: str | None) -> str:
    """Write the page; `plot` is the picture's file name beside it."""
    machine = ", ".join(f"{name} {value}" for name, value in findings.machine.items())
    method = (
        f"Medians of {findings.rounds} rounds of {findings.seconds} s each, contenders in turn, load by wrk (one "
        "thread) on the same machine. All figures are of processes that share its cores: read the ratios. A ratio is "
        "the median of the rounds' own ratios."
    )
    judged = [f"- {'met' if goal.is_met else '**missed**'}: {goal.text}: {goal.value:.2f}" for goal in goals(findings)]
    parts = [
        f"# Benchmark of {findings.date}",
        f"`{findings.command}` at commit `{findings.commit}`, on {machine}.",
        method,
        f"![Requests per second and latency]({plot})" if plot else "",
        "## Goals",
        "\n".join(judged),
        *map(_comparison, findings.comparisons),
        "## Start, memory, idling",
        _footprint(findings),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _footprint(findings: Findings) -> str:
    total = sum(findings.memory_bytes.values())
    lines = [
        f"- from `shepherd up` on an empty state directory to ready: {findings.first_start_s:.1f} s",
        f"- from `shepherd up` with a model and a policy to the first answer: {findings.restart_s:.1f} s",
        f"- processor time while idle: {findings.idle_cpu_ratio:.1%} of a core",
        f"- resident memory after the load (sum of PSS): {total / _MIB:.0f} MiB",
        *(f"  - {name}: {size / _MIB:.0f} MiB" for name, size in findings.memory_bytes.items()),
    ]
    return "\n".join(lines)


def _comparison(comparison: Comparison) -> str:
    head = [
        f"## {comparison.title}",
        "",
        f"| connections | contender | requests/s | lowest | highest | to {comparison.baseline} | p50 ms | p99 ms |",
        "|--:|---|--:|--:|--:|--:|--:|--:|",
    ]
    body = [
        f"| {row.connections} | {row.contender} | {row.requests_per_s:,.0f} | {row.lowest:,.0f} | {row.highest:,.0f} "
        f"| {row.ratio:.2f} | {row.p50_ms:.3f} | {row.p99_ms:.3f} |"
        for row in rows(comparison)
    ]
    return "\n".join(head + body)
