"""The command `bus`: ``bus NOUN VERB``. Exit codes: 0 done, 1 the answer is no, 2 bad input, 3 try again later."""

from __future__ import annotations

from collections.abc import Sequence

import click

from bus.cli.lazy import LazyGroup, Place

#: Everything that `bus` can do. A command is imported when it runs, and listed only if its module is there.
COMMANDS: dict[str, Place] = {
    "demo": Place("bus.cli.demo:demo", "Show three requests live, while things go wrong.", "عرض توضيحي كامل."),
    "serve": Place("bus.cli.serve:serve", "Run the bus, or some of its roles.", "تشغيل الناقل أو بعض أدواره."),
    "simulator": Place("bus.cli.serve:simulator", "Stand-ins for legacy systems.", "محاكيات أنظمة الجهات."),
    "bench": Place("bus.cli.bench:bench", "Measure the bus.", "قياس أداء الناقل."),
    "check": Place("bus.cli.local:check", "Judge the files of a workspace.", "فحص ملفات مساحة العمل."),
    "route": Place("bus.cli.route:route", "See and try what a route does.", "عرض مسارات الخدمات وتجربتها."),
    "config": Place("bus.cli.local:config", "Show each value and who set it.", "عرض كل قيمة ومصدرها."),
    "topology": Place("bus.cli.topology:topology", "See and make what the broker needs.", "بنية الوسيط وصلاحياته."),
    "store": Place("bus.cli.store:store", "Look after the store.", "صيانة المخزن."),
    "user": Place("bus.cli.local:user", "Give tokens to people and agencies.", "منح رموز الدخول."),
    "submit": Place("bus.cli.remote:command_of", "Submit a request, once.", "تقديم طلب، مرة واحدة."),
    "event": Place("bus.cli.remote:command_of", "Submit a request as a CloudEvent.", "تقديم طلب في صورة حدث."),
    "request": Place("bus.cli.remote:command_of", "Follow and change requests.", "متابعة الطلبات وتعديلها."),
    "result": Place("bus.cli.remote:command_of", "Read the feed of results.", "قراءة النتائج."),
    "desk": Place("bus.cli.remote:command_of", "Work on the tasks of a desk.", "إنجاز معاملات المكتب."),
    "failure": Place("bus.cli.remote:command_of", "See to what needs a person.", "معالجة الأعطال."),
    "agency": Place("bus.cli.remote:command_of", "See to the providers.", "متابعة الجهات المزوّدة."),
    "service": Place("bus.cli.remote:command_of", "See what can be asked for.", "عرض الخدمات المتاحة."),
    "audit": Place("bus.cli.remote:command_of", "See who was told what.", "من اطّلع على ماذا."),
    "status": Place("bus.cli.remote:command_of", "Show how the bus is doing.", "عرض حالة الناقل."),
    "health": Place("bus.cli.remote:command_of", "Ask whether the gateway works.", "التحقق من عمل البوابة."),
}


def _tell_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            click.echo(f"bus {version('g2g-bus')}")
        except PackageNotFoundError:
            click.echo("bus (run from its source, not installed)")
        ctx.exit()


@click.command(cls=LazyGroup, places=COMMANDS)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_tell_version, help="Its version.")
def root() -> None:
    """The agencies of one government answer a citizen together."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code. Errors are told on stderr with their mend."""
    from bus.cli.outcome import told

    return told(lambda: root.main(args=argv, prog_name="bus", standalone_mode=False))
