from bench.cli.main import main

main(prog_name="bench")
