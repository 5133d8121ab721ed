"""Send a payment, wait for its result, look at its steps.

In two terminals:

    celery -A examples.quickstart.flows worker
    python -m examples.quickstart.send
"""

from examples.quickstart.flows import Payment, process_payment, worchflow


def main() -> None:
    # When `send` returns, the execution is stored: it will run, also if the broker is away.
    payment = process_payment.send(Payment(amount=1990, customer_id="cust_7"))
    print(f"sent: {payment.id}")

    charge = payment.result(timeout=30)
    print(f"result: {charge.id} for {charge.amount}")
    print(f"status: {payment.status}")
    for step in worchflow.steps(payment.id):
        print(f"step: {step.name} is {step.status}")


if __name__ == "__main__":
    main()
